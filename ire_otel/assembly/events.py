"""The events of a run, sorted into kinds, each kind in time order."""

from collections.abc import Iterator
from operator import attrgetter

import msgspec

from ire_otel import semconv
from ire_otel.assembly.attributes import items, text
from ire_otel.assembly.merging import sequence
from ire_otel.assembly.selection import RunRecords
from ire_otel.assembly.times import microseconds
from ire_otel.records import EventRecord, SpanRecord

Order = tuple[int, int, str, int, str]


class Placed(msgspec.Struct, frozen=True, gc=False):
    """An event and the span it sits on."""

    order: Order
    """Time, number in its process, span id; what is left breaks the ties of events that ire-otel did not record."""
    event: EventRecord
    span: SpanRecord


class RunEvents(msgspec.Struct, kw_only=True):
    """The events of one run by kind, each list in time order."""

    decisions: list[Placed] = []
    scores: list[Placed] = []
    stage_facts: list[Placed] = []
    """What was said of a stage that was not open."""
    iterations: list[Placed] = []
    children: list[Placed] = []
    run_facts: list[Placed] = []
    """What other processes than the run's own learnt of the run."""
    warnings: list[str] = []
    """From spans and events, each once."""


def sort_events(records: RunRecords) -> RunEvents:
    """Sort the events of a run into kinds. On foreign spans only decisions count."""
    found = RunEvents()
    for span in (*records.own, *records.notes):
        for placed in _placed(span):
            kind = _kind(found, placed.event)
            if kind is not None:
                kind.append(placed)
    for span in records.foreign:
        found.decisions += (placed for placed in _placed(span) if semconv.DECISION_TYPE in placed.event.attributes)
    kinds = (found.decisions, found.scores, found.stage_facts, found.iterations, found.children, found.run_facts)
    for kind in kinds:
        kind.sort(key=attrgetter("order"))
    found.warnings = _warnings(records)
    return found


def _kind(found: RunEvents, event: EventRecord) -> list[Placed] | None:
    attributes = event.attributes
    if semconv.DECISION_TYPE in attributes:
        return found.decisions
    if event.name == semconv.SCORE_EVENT and semconv.SCORE_ID in attributes:
        return found.scores
    if semconv.ITERATION in attributes:
        return found.iterations
    if semconv.CHILD_ID in attributes:
        return found.children
    if event.name == semconv.RUN_FACTS_EVENT:
        return found.run_facts
    of_stage = semconv.STAGE_NAME in attributes or event.name.startswith(semconv.STAGE_FACTS_EVENT_PREFIX)
    return found.stage_facts if of_stage else None


def _placed(span: SpanRecord) -> Iterator[Placed]:
    for event in span.events:
        attributes = event.attributes
        seq = sequence(attributes)
        process = str(attributes.get(semconv.PROCESS, ""))
        order = (microseconds(event.time_ns), -1 if seq is None else seq, span.span_id, event.time_ns, process)
        yield Placed(order, event, span)


def _warnings(records: RunRecords) -> list[str]:
    timed: list[tuple[Order, str]] = []
    for span in (*records.own, *records.notes):
        start: Order = (microseconds(span.start_ns), -1, span.span_id, span.start_ns, "")
        timed += ((start, warning) for warning in _texts(span.attributes.get(semconv.WARNING)))
        for placed in _placed(span) if any(semconv.WARNING in event.attributes for event in span.events) else ():
            timed += ((placed.order, warning) for warning in _texts(placed.event.attributes.get(semconv.WARNING)))
    return list(dict.fromkeys(warning for _, warning in sorted(timed)))


def _texts(value: object) -> list[str]:
    several = items(value)
    found = [text(item) for item in several] if several is not None else [text(value)]
    return [warning for warning in found if warning is not None]
