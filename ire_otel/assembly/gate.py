"""Principle scores and the gate's verdict, out of whatever said them: typed calls, a stage's outputs, a decision."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from ire_otel import semconv
from ire_otel.assembly.attributes import Members, flag, items, number, parsed, real, text
from ire_otel.model import Number, PrincipleScore, ScoreNote
from ire_otel.records import Attributes, EventRecord

T = TypeVar("T")

_SAID_BY: Final = ("principle_scores", "overall_score", "passed", "passing", "gap_principles")
"""Any of these in a stage's outputs makes them a verdict; `threshold` alone may be a threshold of anything."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one source said of a stage's quality; None or empty where it said nothing."""

    scores: Mapping[str, PrincipleScore] = {}
    overall_score: float | None = None
    passing: bool | None = None
    threshold: float | None = None
    gaps: Sequence[ScoreNote] | None = None
    strengths: Sequence[ScoreNote] | None = None


def typed_verdict(attributes: Attributes, score_events: Iterable[EventRecord]) -> Verdict:
    """Read `ire.gate.*`, the score events in their order (the last of a principle counts), and `ire.score.*`."""
    scores: dict[str, PrincipleScore] = {}
    for event in score_events:
        score = _score_of(event)
        scores.pop(score.id, None)
        scores[score.id] = score
    prefix = semconv.SCORE_PREFIX
    for name in sorted(name for name in attributes if name.startswith(prefix)):
        principle = name.removeprefix(prefix)
        scores[principle] = _filled(scores.get(principle), PrincipleScore(id=principle, score=number(attributes[name])))
    return Verdict(
        scores=scores,
        overall_score=real(attributes.get(semconv.GATE_OVERALL_SCORE)),
        passing=flag(attributes.get(semconv.GATE_PASSED)),
        threshold=real(attributes.get(semconv.GATE_THRESHOLD)),
        gaps=_notes(attributes.get(semconv.GATE_GAPS)),
    )


def reported_verdict(outputs: Members) -> Verdict | None:
    """Read a verdict out of a JSON object, by the names that SPEC-style pipelines give; None where it holds none."""
    if not any(name in outputs for name in _SAID_BY):
        return None
    passing = flag(parsed(outputs.get("passed")))
    return Verdict(
        scores=_reported_scores(outputs.get("principle_scores")),
        overall_score=real(parsed(outputs.get("overall_score"))),
        passing=flag(parsed(outputs.get("passing"))) if passing is None else passing,
        threshold=real(parsed(outputs.get("threshold"))),
        gaps=_first(_notes(outputs.get(name)) for name in ("gaps", "gap_principles")),
        strengths=_first(_notes(outputs.get(name)) for name in ("strengths", "strength_principles")),
    )


def verdict_fields(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Unite verdicts, the most trusted first, into fields of an Attempt; work out from the scores what nobody said."""
    scores: dict[str, PrincipleScore] = {}
    for verdict in verdicts:
        for principle, score in verdict.scores.items():
            scores[principle] = _filled(scores.get(principle), score)
    overall = _first(verdict.overall_score for verdict in verdicts)
    if overall is None:
        overall = _mean([score.score for score in scores.values() if score.score is not None])
    threshold = _first(verdict.threshold for verdict in verdicts)
    passing = _first(verdict.passing for verdict in verdicts)
    if passing is None and overall is not None and threshold is not None:
        passing = overall >= threshold
    fields = {
        "principle_scores": list(scores.values()) or None,
        "overall_score": overall,
        "passing": passing,
        "threshold": threshold,
        "gaps": _explained(_first(verdict.gaps for verdict in verdicts), scores, gaps=True),
        "strengths": _explained(_first(verdict.strengths for verdict in verdicts), scores, gaps=False),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _score_of(event: EventRecord) -> PrincipleScore:
    attributes = event.attributes
    return PrincipleScore(
        id=text(attributes[semconv.SCORE_ID]) or "",
        name=text(attributes.get(semconv.PRINCIPLE_NAME)),
        score=number(attributes.get(semconv.SCORE_VALUE)),
        feedback=text(attributes.get(semconv.SCORE_EXPLANATION)),
    )


def _reported_scores(value: Any) -> dict[str, PrincipleScore]:
    """Read `[{"id", "name", "score", "feedback"}]`, `{"META-1": 3}` or `{"META-1": {"score": 3, …}}`."""
    said = parsed(value)
    if isinstance(said, dict):
        said = [{**(entry if isinstance(entry, dict) else {"score": entry}), "id": id_} for id_, entry in said.items()]
    scores: dict[str, PrincipleScore] = {}
    for entry in said if isinstance(said, list) else ():
        if isinstance(entry, dict) and entry.get("id") is not None:
            score = PrincipleScore(
                id=_plain_text(entry["id"]) or "",
                name=_plain_text(entry.get("name")),
                score=number(entry.get("score")),
                feedback=_plain_text(entry.get("feedback")),
            )
            scores[score.id] = score
    return scores


def _notes(value: Any) -> list[ScoreNote] | None:
    """Read gaps or strengths given as ids or as objects with an id."""
    entries = items(value)
    if entries is None:
        return None
    notes = []
    for entry in map(parsed, entries):
        said = entry if isinstance(entry, dict) else {"id": entry}
        if said.get("id") is not None:
            note = ScoreNote(
                id=_plain_text(said["id"]) or "",
                score=number(said.get("score")),
                feedback=_plain_text(said.get("feedback")),
            )
            notes.append(note)
    return notes


def _explained(
    notes: Sequence[ScoreNote] | None, scores: Mapping[str, PrincipleScore], *, gaps: bool
) -> list[ScoreNote] | None:
    """Complete given notes from the scores; without any, make them from the scores."""
    if notes is None:
        if not scores:
            return None
        notes = [ScoreNote(id=score.id) for score in scores.values() if _is_noted(score.score, gaps=gaps)]
    explained = []
    for note in notes:
        score = scores.get(note.id)
        if score is not None:
            note = ScoreNote(  # noqa: PLW2901 # the same note, completed
                id=note.id,
                score=score.score if note.score is None else note.score,
                feedback=score.feedback if note.feedback is None else note.feedback,
            )
        explained.append(note)
    return explained


def _is_noted(score: Number | None, *, gaps: bool) -> bool:
    if score is None:
        return False
    return score < semconv.GAP_BELOW if gaps else score >= semconv.STRENGTH_AT


def _filled(score: PrincipleScore | None, other: PrincipleScore) -> PrincipleScore:
    """Take from the less trusted `other` what `score` leaves open."""
    if score is None:
        return other
    return PrincipleScore(
        id=score.id,
        name=other.name if score.name is None else score.name,
        score=other.score if score.score is None else score.score,
        feedback=other.feedback if score.feedback is None else score.feedback,
    )


def _plain_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else text(value)


def _mean(scores: Sequence[Number]) -> float | None:
    return round(sum(scores) / len(scores), 4) if scores else None


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)
