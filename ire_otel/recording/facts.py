"""What the typed calls say, as attribute values. Pure: arguments in, attributes out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sized
from typing import Any

from ire_otel import semconv
from ire_otel.values import attribute, dumps, shown

Attributes = dict[str, Any]


def decision(  # noqa: PLR0917 # keywords would cost every decision
    kind: object,
    what: object,
    why: object,
    confidence: object,
    alternatives: object,
    inputs: object,
    component: str,
    seq: int,
    attempt: int,
    stage: str,
) -> Attributes:
    """Give the attributes of a decision event, in the order in which they are read (alphabetical)."""
    problem = None
    given: Attributes = {semconv.DECISION_COMPONENT: component}
    if confidence is not None:
        number, problem = _confidence(confidence)
        if number is not None:
            given[semconv.DECISION_CONFIDENCE] = number
    given[semconv.DECISION_TYPE] = kind if type(kind) is str else attribute(kind) or "decision"
    chosen = attribute(what)
    if chosen is not None:
        given[semconv.DECISION_WHAT] = chosen
    reason = attribute(why)
    if reason is not None:
        given[semconv.DECISION_WHY] = reason
    if alternatives is not None:
        options = alternatives if isinstance(alternatives, list | tuple | set | frozenset) else [alternatives]
        if options:
            given[semconv.GIVEN_ALTERNATIVES] = dumps(options)
    if inputs is not None and inputs != {}:
        given[semconv.GIVEN_INPUTS] = attribute(inputs)
    given[semconv.SEQ] = seq
    given[semconv.STAGE_ATTEMPT] = attempt
    given[semconv.STAGE_NAME] = stage
    if problem is not None:
        given[semconv.WARNING] = f"decision {given[semconv.DECISION_TYPE]} of stage {stage}: {problem}"
    return given


def _number(value: object) -> float | None:
    if type(value) is bool:
        return None
    try:
        number = float(value)  # type: ignore[arg-type] # what is no number raises
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def amount(value: object) -> float | None:
    """Give a count or a price: an int as it is, else a finite number; None for what is neither."""
    return value if type(value) is int else _number(value)


def _confidence(value: object) -> tuple[float | None, str | None]:
    number = _number(value)
    if number is None:
        return None, f"confidence {shown(value)} is no number; recorded as null, give a probability from 0 to 1"
    if not 0 <= number <= 1:
        return None, f"confidence {shown(value)} is not between 0 and 1; recorded as null"
    return number, None


def evidence(data: Mapping[str, Any]) -> Attributes:
    """Give the attributes of evidence: the whole as JSON, and its counts."""
    kept, filtered = count(data.get("kept")), count(data.get("filtered_out"))
    collected = data.get("collected_count")
    if not isinstance(collected, int):
        collected = kept + filtered if kept is not None and filtered is not None else kept
    return {
        semconv.STAGE_EVIDENCE: dumps(data),
        semconv.EVIDENCE_COLLECTED: collected,
        semconv.EVIDENCE_FILTERED: filtered,
        semconv.EVIDENCE_KEPT: kept,
    }


def count(items: object) -> int | None:
    """Count items that can be counted without using them up."""
    return len(items) if isinstance(items, Sized) and not isinstance(items, str) else None


def prompts(texts: Mapping[str, Any]) -> Attributes:
    """Give the attributes of prompts, one a key."""
    return {f"{semconv.STAGE_PROMPT_PREFIX}{key}": attribute(text) for key, text in texts.items()}


def score(  # noqa: PLR0917 # as above
    principle: object, value: object, name: object, feedback: object, seq: int, stage: str
) -> Attributes:
    """Give the attributes of a principle score event; a value that is no number is named in a warning."""
    given: Attributes = {semconv.SCORE_ID: str(principle)}
    number = _number(value)
    if number is not None:
        given[semconv.SCORE_VALUE] = number
        given[semconv.SCORE_LABEL] = label(number)
    else:
        given[semconv.WARNING] = f"score {shown(value)} of principle {principle} is no number; recorded as null"
    given[semconv.SCORE_EXPLANATION] = attribute(feedback)
    given[semconv.PRINCIPLE_NAME] = attribute(name)
    given[semconv.SEQ] = seq
    given[semconv.STAGE_NAME] = stage
    return {key: item for key, item in given.items() if item is not None}


def label(value: float) -> str:
    """Say what a score means: strength, ok or gap."""
    if value >= semconv.STRENGTH_AT:
        return "strength"
    return "gap" if value < semconv.GAP_BELOW else "ok"


def verdict(outputs: Mapping[str, Any]) -> Attributes:
    """Give the gate's verdict where a pipeline states it in a stage's outputs, so that it can be searched for."""
    passed = outputs.get("passed")
    overall = outputs.get("overall_score")
    return {
        semconv.GATE_PASSED: passed if isinstance(passed, bool) else None,
        semconv.GATE_OVERALL_SCORE: attribute(overall) if isinstance(overall, int | float) else None,
    }
