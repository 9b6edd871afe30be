"""SDK spans to SpanRecords and back."""

from collections.abc import Mapping
from typing import Any, get_args

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
)

from ire_otel import values
from ire_otel.records import Attributes, EventRecord, Kind, LinkRecord, SpanRecord


def from_readable(span: ReadableSpan) -> SpanRecord:
    """Give the record of an SDK span, open or ended. Raises ValueError for a span without a context."""
    context = span.get_span_context()
    if context is None:
        raise ValueError(f"span {span.name!r} has no span context, so nothing tells it from others; give it one")
    scope = span.instrumentation_scope
    return SpanRecord(
        trace_id=format_trace_id(context.trace_id),
        span_id=format_span_id(context.span_id),
        parent_span_id=None if span.parent is None else format_span_id(span.parent.span_id),
        name=values.well_formed(span.name),
        kind=_kind(span.kind),
        start_ns=span.start_time or 0,
        end_ns=span.end_time,
        status=_status(span.status),
        status_description=None if not span.status.description else values.well_formed(span.status.description),
        attributes=_attributes(span.attributes),
        events=tuple(_event(event) for event in span.events),
        links=tuple(_link(link) for link in span.links),
        scope_name=None if scope is None else scope.name or None,
        scope_version=None if scope is None else scope.version or None,
        resource=_attributes(span.resource.attributes),
        dropped_attributes=span.dropped_attributes,
        dropped_events=span.dropped_events,
        dropped_links=span.dropped_links,
    )


def to_readable(record: SpanRecord, resource: Resource | None = None) -> ReadableSpan:
    """Give an SDK span for a record, for any SpanExporter. `resource` saves making the record's own again."""
    return _RebuiltSpan(record, Resource(record.resource) if resource is None else resource)


class _RebuiltSpan(ReadableSpan):
    """A span that holds a record in full: no limits, and the counts of what was dropped before."""

    def __init__(self, record: SpanRecord, resource: Resource) -> None:
        trace_id = int(record.trace_id, 16)
        scope_name = record.scope_name
        super().__init__(
            name=record.name,
            context=_context(trace_id, record.span_id),
            parent=None if record.parent_span_id is None else _context(trace_id, record.parent_span_id),
            resource=resource,
            attributes=record.attributes,
            events=[_RebuiltEvent(event) for event in record.events],
            links=[Link(_context(int(link.trace_id, 16), link.span_id), link.attributes) for link in record.links],
            kind=SpanKind[record.kind],
            status=Status(StatusCode[record.status], record.status_description if record.status == "ERROR" else None),
            start_time=record.start_ns,
            end_time=record.end_ns,
            instrumentation_scope=None
            if scope_name is None
            else InstrumentationScope(scope_name, record.scope_version),
        )
        self._record = record

    @property
    def dropped_attributes(self) -> int:
        return self._record.dropped_attributes

    @property
    def dropped_events(self) -> int:
        return self._record.dropped_events

    @property
    def dropped_links(self) -> int:
        return self._record.dropped_links


class _RebuiltEvent(Event):
    """An event that keeps the count of attributes dropped before."""

    def __init__(self, record: EventRecord) -> None:
        super().__init__(record.name, record.attributes, record.time_ns)
        self._dropped = record.dropped_attributes

    @property
    def dropped_attributes(self) -> int:
        return self._dropped


def _context(trace_id: int, span_id: str) -> SpanContext:
    return SpanContext(trace_id, int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _kind(kind: SpanKind) -> Kind:
    return next((name for name in get_args(Kind) if name == kind.name), "INTERNAL")


def _status(status: Status) -> Any:
    return status.status_code.name


def _event(event: Event) -> EventRecord:
    return EventRecord(
        name=values.well_formed(event.name),
        time_ns=event.timestamp,
        attributes=_attributes(event.attributes),
        dropped_attributes=event.dropped_attributes,
    )


def _link(link: Link) -> LinkRecord:
    return LinkRecord(
        trace_id=format_trace_id(link.context.trace_id),
        span_id=format_span_id(link.context.span_id),
        attributes=_attributes(link.attributes),
    )


def _attributes(attributes: Mapping[str, Any] | None) -> Attributes:
    return {values.well_formed(name): _value(value) for name, value in attributes.items()} if attributes else {}


def _value(value: Any) -> Any:
    """Give what OTLP would bring back: tuples as lists, text that UTF-8 can hold."""
    if isinstance(value, str):
        return values.well_formed(value)
    if isinstance(value, Mapping):
        return _attributes(value)
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    return value
