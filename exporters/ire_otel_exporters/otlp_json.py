"""SpanRecords as OTLP/JSON, as OTLP defines it: ids in hex, 64-bit integers as strings, enums as numbers."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from ire_otel import values
from ire_otel.records import EventRecord, LinkRecord, SpanRecord

_KINDS: Final = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_STATUSES: Final = {"UNSET": 0, "OK": 1, "ERROR": 2}


def to_otlp_json(records: Iterable[SpanRecord]) -> dict[str, Any]:
    """Give one OTLP/JSON request that holds the records in full, grouped by resource and scope."""
    resources: dict[str, tuple[Mapping[str, Any], dict[tuple[str | None, str | None], list[SpanRecord]]]] = {}
    for record in records:
        name = repr(sorted(record.resource.items()))
        scopes = resources.setdefault(name, (record.resource, {}))[1]
        scopes.setdefault((record.scope_name, record.scope_version), []).append(record)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [
                    {"scope": _present(name=name, version=version), "spans": [_span(span) for span in spans]}
                    for (name, version), spans in scopes.items()
                ],
            }
            for resource, scopes in resources.values()
        ]
    }


def line(records: Iterable[SpanRecord]) -> bytes:
    """Give the request as one line, as the Collector's file exporter writes it."""
    return orjson.dumps(to_otlp_json(records), option=orjson.OPT_APPEND_NEWLINE)


def _span(span: SpanRecord) -> dict[str, Any]:
    return _present(
        traceId=span.trace_id,
        spanId=span.span_id,
        parentSpanId=span.parent_span_id,
        name=values.well_formed(span.name),
        kind=_KINDS[span.kind],
        startTimeUnixNano=str(span.start_ns),
        endTimeUnixNano=None if span.end_ns is None else str(span.end_ns),
        attributes=_attributes(span.attributes),
        droppedAttributesCount=span.dropped_attributes or None,
        events=[_event(event) for event in span.events] or None,
        droppedEventsCount=span.dropped_events or None,
        links=[_link(link) for link in span.links] or None,
        droppedLinksCount=span.dropped_links or None,
        status=_present(
            code=_STATUSES[span.status] or None,
            message=values.well_formed(span.status_description) if span.status_description else None,
        ),
    )


def _event(event: EventRecord) -> dict[str, Any]:
    return _present(
        timeUnixNano=str(event.time_ns),
        name=values.well_formed(event.name),
        attributes=_attributes(event.attributes),
        droppedAttributesCount=event.dropped_attributes or None,
    )


def _link(link: LinkRecord) -> dict[str, Any]:
    return _present(traceId=link.trace_id, spanId=link.span_id, attributes=_attributes(link.attributes))


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": values.well_formed(str(name)), "value": _value(value)} for name, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if value in values.INT64 else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _NOT_FINITE[repr(value)]}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _attributes(value)}}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": values.well_formed(str(value))}


_NOT_FINITE: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""As protobuf's JSON spells them."""


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
