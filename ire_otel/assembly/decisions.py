"""Decision events to Decisions."""

from typing import Any

from ire_otel import semconv, values
from ire_otel.assembly.attributes import items, real, text
from ire_otel.assembly.times import iso
from ire_otel.model import Decision
from ire_otel.records import EventRecord


def decision(event: EventRecord, attempt: int) -> Decision:
    """Read one decision; `inputs` and the like stay the JSON fragments that were recorded."""
    attributes = event.attributes
    inputs = values.decode(attributes.get(semconv.GIVEN_INPUTS))
    return Decision(
        decision=text(attributes[semconv.DECISION_TYPE]) or "",
        what=values.decode(attributes.get(semconv.DECISION_WHAT)),
        why=text(attributes.get(semconv.DECISION_WHY)) or "",
        confidence=real(attributes.get(semconv.DECISION_CONFIDENCE)),
        alternatives_considered=_alternatives(attributes.get(semconv.GIVEN_ALTERNATIVES)),
        inputs={} if inputs is None else inputs,
        timestamp=iso(event.time_ns),
        component=text(attributes.get(semconv.DECISION_COMPONENT)),
        attempt=attempt,
    )


def _alternatives(value: Any) -> list[Any]:
    if value is None:
        return []
    several = items(value)
    return [values.decode(value)] if several is None else list(several)
