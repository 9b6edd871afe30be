"""Compare two trace documents: which decisions differ and which first, evidence, prompts, principles. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET

from ire_otel import values
from ire_otel.model import Attempt, Decision, Number, PrincipleScore, StageTrace, TraceDocument, given
from ire_otel.query.text_difference import TextDifference, text_difference

SHOWN: Final = 2_000
"""Longest text of a decision in a comparison, in characters; the trace files have all of it."""

T = TypeVar("T")
_COMPARED: Final = {
    "what": "what",
    "why": "why",
    "confidence": "confidence",
    "alternatives": "alternatives_considered",
    "inputs": "inputs",
}
"""Names in the answer, and the fields of a Decision."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a decision in which the two runs differ."""

    field: str
    """what, why, confidence, alternatives or inputs."""
    a: Any
    """For inputs only those that differ, by name."""
    b: Any


class DecisionDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One decision that the two runs did not take in the same way."""

    stage: str
    decision: str
    """Its type."""
    occurrence: int
    """Which of this type in this stage, from 1: what the two runs are aligned by."""
    component: str | None
    only_in: str | None
    """a or b, where only that run took it; None where both did."""
    changes: list[Change]
    """Empty where only one run took it."""
    what: Any
    """What was chosen; by run a, where both took it."""


class DecisionComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The two decision logs, aligned."""

    same: int
    """Decisions that both runs took in the same way."""
    differing: list[DecisionDifference]
    """In the order in which the runs took them."""
    first_difference: DecisionDifference | None
    """The first of them: what came before it was decided alike, so look here first."""


class EvidenceDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence that one run kept and the other filtered out."""

    item: str
    """Its URL, else its title, else all of it as JSON."""
    reason: Any
    """Why it was filtered out."""
    scores_kept: Any
    scores_filtered: Any


class EvidenceComparison(msgspec.Struct, frozen=True, kw_only=True):
    """What the two runs did with their evidence."""

    kept_in_a_filtered_in_b: list[EvidenceDifference]
    kept_in_b_filtered_in_a: list[EvidenceDifference]
    kept_in_both: int
    kept_only_in_a: list[str]
    """Kept in a, and never seen by b."""
    kept_only_in_b: list[str]


class PromptDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How one prompt of one stage differs; a prompt that a run does not have is empty."""

    stage: str
    prompt: str
    """Its name, e.g. system_prompt."""
    difference: TextDifference


class PrincipleChange(msgspec.Struct, frozen=True, kw_only=True):
    """One principle's score in both runs, 0 to 3."""

    id: str
    name: str | None
    score_a: Number | None
    score_b: Number | None
    delta: float | None
    """b minus a; None where either run has no score."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in which the trace files of two runs differ."""

    decisions: DecisionComparison
    evidence: EvidenceComparison
    prompts: list[PromptDifference]
    """Only those that differ."""
    principles: list[PrincipleChange]
    """All of either run, those that fell most first."""


def compare_documents(a: TraceDocument, b: TraceDocument) -> Comparison:
    """Compare two runs. Stages, decisions and prompts are matched by name, evidence by URL, principles by id."""
    return Comparison(
        decisions=_decisions(a, b),
        evidence=_evidence(a, b),
        prompts=list(_prompts(a, b)),
        principles=_principles(a, b),
    )


_Key = tuple[str, str, int]
"""Stage, type of decision, occurrence."""


def _decisions(a: TraceDocument, b: TraceDocument) -> DecisionComparison:
    log_a, log_b = _log(a), _log(b)
    place_a, place_b = _places(log_a), _places(log_b)
    # Where both runs took a decision, its earlier place counts: that is how far they had gone alike at most.
    ends = len(log_a) + len(log_b)
    order = sorted({*log_a, *log_b}, key=lambda key: (min(place_a.get(key, ends), place_b.get(key, ends)), key))
    differing = [found for key in order if (found := _difference(key, log_a.get(key), log_b.get(key)))]
    return DecisionComparison(
        same=len(order) - len(differing), differing=differing, first_difference=differing[0] if differing else None
    )


def _log(document: TraceDocument) -> dict[_Key, Decision]:
    """Give the decisions of all stages by what aligns them, in time order."""
    timed = [
        (decision.timestamp or stage.started_at or document.run.started_at, name, decision)
        for name, stage in document.stages.items()
        for decision in stage.decisions
    ]
    counts: dict[tuple[str, str], int] = {}
    log = {}
    for _, stage_name, decision in sorted(timed, key=lambda entry: entry[0]):
        kind = stage_name, decision.decision
        counts[kind] = counts.get(kind, 0) + 1
        log[*kind, counts[kind]] = decision
    return log


def _places(log: Iterable[_Key]) -> dict[_Key, int]:
    return {key: place for place, key in enumerate(log)}


def _difference(key: _Key, a: Decision | None, b: Decision | None) -> DecisionDifference | None:
    changes = [] if a is None or b is None else list(_changes(a, b))
    some = a or b
    if some is None or (a is not None and b is not None and not changes):
        return None
    stage, kind, occurrence = key
    return DecisionDifference(
        stage=stage,
        decision=kind,
        occurrence=occurrence,
        component=some.component,
        only_in=None if a is not None and b is not None else "a" if b is None else "b",
        changes=changes,
        what=_shown(some.what),
    )


def _changes(a: Decision, b: Decision) -> Iterator[Change]:
    for name, field in _COMPARED.items():
        of_a, of_b = getattr(a, field), getattr(b, field)
        if of_a == of_b:
            continue
        if isinstance(of_a, dict) and isinstance(of_b, dict):
            differing = [key for key in {**of_a, **of_b} if of_a.get(key, UNSET) != of_b.get(key, UNSET)]
            of_a, of_b = ({key: _shown(of[key]) for key in differing if key in of} for of in (of_a, of_b))
        yield Change(field=name, a=_shown(of_a), b=_shown(of_b))


def _shown(value: Any) -> Any:
    """Cut what is too long to be looked at; short values stay what they are."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else values.dumps(value)
    return value if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"


def _evidence(a: TraceDocument, b: TraceDocument) -> EvidenceComparison:
    kept_a, filtered_a = _judged(a)
    kept_b, filtered_b = _judged(b)
    return EvidenceComparison(
        kept_in_a_filtered_in_b=_turned(kept_a, filtered_b),
        kept_in_b_filtered_in_a=_turned(kept_b, filtered_a),
        kept_in_both=len(kept_a.keys() & kept_b.keys()),
        kept_only_in_a=[item for item in kept_a if item not in kept_b and item not in filtered_b],
        kept_only_in_b=[item for item in kept_b if item not in kept_a and item not in filtered_a],
    )


def _judged(document: TraceDocument) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what a run kept and what it filtered out, by item; of several judgements of one item the last counts."""
    kept: dict[str, Any] = {}
    filtered: dict[str, Any] = {}
    for _, attempt in _attempts(document):
        evidence = given(attempt.evidence) or {}
        for name, into, other in (("filtered_out", filtered, kept), ("kept", kept, filtered)):
            entries = evidence.get(name)
            for entry in entries if isinstance(entries, list) else ():
                item = _item(entry)
                other.pop(item, None)
                into[item] = entry
    return kept, filtered


def _item(entry: Any) -> str:
    if isinstance(entry, dict):
        named = next((entry[name] for name in ("url", "id", "title") if entry.get(name)), entry)
        return named if isinstance(named, str) else values.dumps(named)
    return entry if isinstance(entry, str) else values.dumps(entry)


def _turned(kept: Mapping[str, Any], filtered: Mapping[str, Any]) -> list[EvidenceDifference]:
    return [
        EvidenceDifference(
            item=item,
            reason=_member(filtered[item], "reason"),
            scores_kept=_member(entry, "scores"),
            scores_filtered=_member(filtered[item], "scores"),
        )
        for item, entry in kept.items()
        if item in filtered
    ]


def _member(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, dict) else None


def _prompts(a: TraceDocument, b: TraceDocument) -> Iterator[PromptDifference]:
    prompts_a, prompts_b = _prompt_texts(a), _prompt_texts(b)
    for key in {**prompts_a, **prompts_b}:
        of_a, of_b = prompts_a.get(key, ""), prompts_b.get(key, "")
        if of_a != of_b:
            yield PromptDifference(stage=key[0], prompt=key[1], difference=text_difference(of_a, of_b))


def _prompt_texts(document: TraceDocument) -> dict[tuple[str, str], str]:
    """Give the prompts of each stage's last attempt, by stage and name."""
    return {
        (stage, name): prompt if isinstance(prompt, str) else values.dumps(prompt)
        for stage, trace in document.stages.items()
        for name, prompt in (given(trace.prompts) or {}).items()
    }


def _principles(a: TraceDocument, b: TraceDocument) -> list[PrincipleChange]:
    scores_a, scores_b = _scores(a), _scores(b)
    changes = []
    for principle in {**scores_a, **scores_b}:
        unknown = PrincipleScore(id=principle)
        of_a, of_b = scores_a.get(principle, unknown), scores_b.get(principle, unknown)
        delta = None if of_a.score is None or of_b.score is None else float(of_b.score - of_a.score)
        change = PrincipleChange(
            id=principle, name=of_a.name or of_b.name, score_a=of_a.score, score_b=of_b.score, delta=delta
        )
        changes.append(change)
    return sorted(changes, key=lambda change: (change.delta is None, change.delta or 0.0, change.id))


def _scores(document: TraceDocument) -> dict[str, PrincipleScore]:
    stages = document.stages.values()
    return {score.id: score for stage in stages for score in given(stage.principle_scores) or ()}


def _attempts(document: TraceDocument) -> Iterator[tuple[str, Attempt]]:
    for name, stage in document.stages.items():
        yield from ((name, attempt) for attempt in _own_attempts(stage))


def _own_attempts(stage: StageTrace) -> list[Attempt]:
    return [stage] if stage.attempts is UNSET else stage.attempts
