"""Calibration capture: what a person thinks of a run, beside what the gate thought.

`draft` gives the form with everything filled in that the run knows; `capture` keeps what somebody made of it.
"""

import difflib
import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from ire_otel import reviews, semconv, values
from ire_otel.db.replay import CALIBRATION, replay
from ire_otel.db.tables import trace_principle_scores, trace_sources, traces
from ire_otel.errors import IreOtelError
from ire_otel.query.conditions import equal
from ire_otel.query.execution import Brain
from ire_otel.query.results import RunNotFoundError, stamp
from ire_otel.row.columns import NAME_LENGTH

LOWEST: Final = 0
HIGHEST: Final = semconv.STRENGTH_AT
"""Ends of the scale on which gate and people score."""
REVIEWER_LENGTH: Final = 200
"""Longest name of a reviewer, in characters."""
CORRECTABLE: Final = ("intent", "domain", "report_type", "quality_gate_passed")
"""What a person can correct of the run itself."""


class CalibrationError(IreOtelError, ValueError):
    """Something was said that cannot be kept as it is."""


class PrincipleDraft(msgspec.Struct, frozen=True, kw_only=True):
    """One principle, as the gate scored it."""

    principle_id: str
    name: str | None = None
    gate_score: float | None = None
    """0 to 3; None where the gate named a gap without a score."""
    feedback: str | None = None
    """The gate's, its first 500 characters."""
    gap: bool


class SourceDraft(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence from one source; None is unknown."""

    source: str
    collected: int | None
    kept: int | None
    filtered: int | None
    mean_score: float | None
    """Of the items' composite scores."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What the run says of itself, for a person to confirm or correct."""

    trace_id: str
    project_name: str | None
    started_at: str
    """ISO 8601 UTC."""
    status: str
    query: str | None
    intent: str | None
    domain: str | None
    report_type: str | None
    quality_gate_passed: bool | None
    overall_quality_score: float | None
    gap_principles: list[str]
    strength_principles: list[str]
    evidence_collected: int | None
    evidence_passed: int | None
    evidence_filtered: int | None
    report_file_path: str | None
    sources: list[SourceDraft]
    """The one with most kept first."""
    principles: list[PrincipleDraft]
    """Gaps first, then by id."""


class HumanScore(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said about one principle of the run."""

    principle_id: str
    gate_score: float | None
    human_score: float | None = None
    """0 to 3; None where the person only left a note."""
    note: str | None = None


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept of one capture."""

    trace_id: str
    reviewer: str | None
    when: str
    """ISO 8601 UTC."""
    confirmed: dict[str, Any]
    """The CORRECTABLE facts as the person says they are."""
    corrected: dict[str, Any]
    """Those of them that the run has otherwise."""
    note: str | None
    scores: list[HumanScore]


def draft(brain: Brain, trace_id: str) -> Draft:
    """Give what a run says of itself: intent, scores, gaps, evidence. Raises RunNotFoundError."""
    columns = [traces.c[name] for name in Draft.__struct_fields__ if name not in {"sources", "principles"}]
    row = brain.connection.execute(sa.select(*columns).where(equal(traces.c.trace_id, trace_id))).mappings().first()
    if row is None:
        raise RunNotFoundError(f"no run {trace_id!r}: `ire-otel runs` lists what is there")
    # As the child table has them.
    gaps = [gap[:NAME_LENGTH] for gap in row["gap_principles"] or ()]
    return Draft(
        **{
            **row,
            "started_at": stamp(row["started_at"]),
            "gap_principles": gaps,
            "strength_principles": row["strength_principles"] or [],
        },
        sources=_sources(brain.connection, trace_id),
        principles=_principles(brain.connection, trace_id, gaps),
    )


def capture(
    brain: Brain,
    trace_id: str,
    scores: Mapping[str, float] | None = None,
    *,
    notes: Mapping[str, str] | None = None,
    corrections: Mapping[str, Any] | None = None,
    note: str | None = None,
    reviewer: str | None = None,
) -> Captured:
    """Keep what a person thinks of a run: in its review file first, then in `trace_calibrations`.

    scores: the person's own, 0 to 3, by principle id; principles that are left out were not scored by anybody.
    notes: words on single principles, by id.
    corrections: what the run has wrong: any of intent, domain, report_type (texts) and quality_gate_passed (bool).
    note: words on the run as a whole.

    Saying something again is another opinion; the last one of a reviewer counts. Raises RunNotFoundError, ReviewError
    and CalibrationError, which names the valid principles where one is unknown.
    """
    brain.connection.rollback()
    # SQLite must know from the start that this will write.
    brain.connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    form = draft(brain, trace_id)
    made = judged(form, scores or {}, notes=notes, corrections=corrections, note=note, reviewer=reviewer)
    entries = _entries(made, form)

    def write() -> None:
        for entry in entries:
            reviews.append(brain.settings, form.project_name, form.trace_id, entry)

    brain.off_loop(write)
    replay(brain.connection, form.trace_id, entries)
    return made


def judged(
    form: Draft,
    scores: Mapping[str, float],
    *,
    notes: Mapping[str, str] | None = None,
    corrections: Mapping[str, Any] | None = None,
    note: str | None = None,
    reviewer: str | None = None,
) -> Captured:
    """Put together what `capture` keeps. Pure but for the clock; arguments and errors are those of `capture`."""
    corrected = {name: _corrected(name, value) for name, value in (corrections or {}).items()}
    facts = {name: getattr(form, name) for name in CORRECTABLE}
    return Captured(
        trace_id=form.trace_id,
        reviewer=_clean(reviewer, REVIEWER_LENGTH),
        when=reviews.Entry(kind=CALIBRATION).when,
        confirmed=facts | corrected,
        corrected={name: value for name, value in corrected.items() if value != facts[name]},
        note=_clean(note),
        scores=_human_scores(form, scores, notes or {}),
    )


def _sources(connection: sa.Connection, trace_id: str) -> list[SourceDraft]:
    columns = [trace_sources.c[name] for name in SourceDraft.__struct_fields__]
    found = connection.execute(sa.select(*columns).where(equal(trace_sources.c.trace_id, trace_id))).mappings()
    return sorted((SourceDraft(**row) for row in found), key=lambda one: (-(one.kept or 0), one.source))


def _principles(connection: sa.Connection, trace_id: str, gaps: list[str]) -> list[PrincipleDraft]:
    scores = trace_principle_scores.c
    columns = (scores.principle_id, scores.name, scores.score.label("gate_score"), scores.feedback)
    rows = connection.execute(sa.select(*columns).where(equal(scores.trace_id, trace_id))).mappings()
    found = [PrincipleDraft(**row, gap=row["principle_id"] in gaps) for row in rows]
    scored = {one.principle_id for one in found}
    found += [PrincipleDraft(principle_id=gap, gap=True) for gap in dict.fromkeys(gaps) if gap not in scored]
    return sorted(found, key=lambda one: (not one.gap, one.principle_id))


def _human_scores(form: Draft, scores: Mapping[str, float], notes: Mapping[str, str]) -> list[HumanScore]:
    known = {one.principle_id: one for one in form.principles}
    return [
        HumanScore(
            principle_id=_known(principle_id, known, form.trace_id).principle_id,
            gate_score=known[principle_id].gate_score,
            human_score=_score(principle_id, scores[principle_id]) if principle_id in scores else None,
            note=_clean(notes.get(principle_id)),
        )
        for principle_id in {**scores, **notes}
    ]


def _known(principle_id: str, known: Mapping[str, PrincipleDraft], trace_id: str) -> PrincipleDraft:
    if principle_id in known:
        return known[principle_id]
    nearest = difflib.get_close_matches(str(principle_id), known, n=1)
    meant = f"did you mean {nearest[0]}? " if nearest else ""
    valid = f"valid are {', '.join(sorted(known))}" if known else "its gate scored none"
    raise CalibrationError(f"run {trace_id} has no principle {principle_id!r}: {meant}{valid}")


def _score(principle_id: str, given: Any) -> float:
    number = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    if not number or not LOWEST <= given <= HIGHEST:
        raise CalibrationError(f"score of {principle_id} cannot be {given!r}: give a number from {LOWEST} to {HIGHEST}")
    return float(given)


def _corrected(name: str, value: Any) -> Any:
    if name not in CORRECTABLE:
        raise CalibrationError(f"{name!r} of a run cannot be corrected: valid are {', '.join(CORRECTABLE)}")
    if name == "quality_gate_passed":
        if not isinstance(value, bool):
            raise CalibrationError(f"{name} cannot be {value!r}: give True or False")
        return value
    if not isinstance(value, str) or not value.strip():
        raise CalibrationError(f"{name} cannot be {value!r}: give a text")
    return _clean(value)


def _entries(made: Captured, form: Draft) -> list[reviews.Entry]:
    """Give what goes into the review file: one entry on the run, one on each principle."""
    recorded = {
        name: value for name, value in msgspec.to_builtins(form).items() if name not in {"trace_id", "principles"}
    }
    on_run = {"note": made.note, "confirmed": made.confirmed, "corrected": made.corrected, "recorded": recorded}
    on_principles = [msgspec.to_builtins(score) for score in made.scores]
    return [
        reviews.Entry(kind=CALIBRATION, when=made.when, who=made.reviewer, data=data)
        for data in (on_run, *on_principles)
    ]


def _clean(text: str | None, width: int | None = None) -> str | None:
    if text is None:
        return None
    return values.well_formed(str(text)).replace("\0", "\ufffd").strip()[:width] or None
