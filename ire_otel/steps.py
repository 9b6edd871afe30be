"""Steps: plain functions on SpanRecords, run once before anything is assembled, written or sent."""

import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from ire_otel import semconv
from ire_otel.records import Attributes, SpanRecord

Step = Callable[[SpanRecord], SpanRecord | None]
"""Gives the record to go on with, or None to drop the span (and with a run's own span, the run)."""

logger = logging.getLogger("ire_otel")


def apply(steps: Sequence[Step], records: Iterable[SpanRecord]) -> list[SpanRecord]:
    """Run every record through all steps, in their order."""
    if not steps:
        return list(records)
    passed = (_through(steps, record) for record in records)
    return [record for record in passed if record is not None]


def _through(steps: Sequence[Step], record: SpanRecord) -> SpanRecord | None:
    for step in steps:
        try:
            changed = step(record)
        except Exception:
            name = getattr(step, "__qualname__", repr(step))
            # A step may be what takes secrets out, so nothing that it did not finish with goes on.
            logger.exception("step %s failed on span %s; its texts are withheld", name, record.span_id)
            changed = _withheld(record, f"[withheld: step {name} failed]")
        if changed is None:
            return None
        record = changed
    return record


def _withheld(record: SpanRecord, mark: str) -> SpanRecord:
    """Replace every text but the ids and names that assembly goes by; those of spans of ours hold no content."""
    ours = record.scope_name == semconv.SCOPE
    return msgspec.structs.replace(
        record,
        name=record.name if ours else mark,
        status_description=None,
        attributes=_masked(record.attributes, mark),
        events=tuple(
            msgspec.structs.replace(
                event, name=event.name if ours else mark, attributes=_masked(event.attributes, mark)
            )
            for event in record.events
        ),
        links=tuple(msgspec.structs.replace(link, attributes=_masked(link.attributes, mark)) for link in record.links),
        resource=_masked(record.resource, mark),
    )


def _masked(attributes: Attributes, mark: str) -> Attributes:
    return {
        key: value if key in _STRUCTURE or isinstance(value, bool | int | float) else mark
        for key, value in attributes.items()
    }


_STRUCTURE = frozenset(
    {
        "ire.run.id",
        "ire.run.parent_id",
        "ire.run.status",
        "ire.process",
        "ire.project.name",
        "ire.stage.name",
        "ire.stage.span_id",
        "ire.decision.type",
        "ire.decision.component",
        "gen_ai.evaluation.name",
        "ire.child.trace_id",
    }
)
