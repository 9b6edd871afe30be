"""OTLP, as protobuf and as JSON, to SpanRecords and back."""

import base64
import binascii
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, cast

from google.protobuf.json_format import ParseDict
from google.protobuf.json_format import ParseError as JsonFormatError
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource

from ire_otel import values
from ire_otel.records import Attributes, EventRecord, Kind, LinkRecord, SpanRecord, Status
from ire_otel.sdk_spans import to_readable

logger = logging.getLogger(__name__)

_KINDS: Final[Mapping[int, Kind]] = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
_STATUSES: Final[Mapping[int, Status]] = {1: "OK", 2: "ERROR"}
_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8


def from_otlp(request: ExportTraceServiceRequest) -> list[SpanRecord]:
    """Give the records of an OTLP request, in its order. Spans without ids are left out, with one warning."""
    records = []
    nameless = 0
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                if _is_id(span.trace_id, _TRACE_ID_BYTES) and _is_id(span.span_id, _SPAN_ID_BYTES):
                    records.append(_record(span, scope_spans.scope, resource))
                else:
                    nameless += 1
    if nameless:
        logger.warning("%d spans without a trace id or span id were left out", nameless)
    return records


def from_otlp_json(body: bytes | Mapping[str, Any]) -> list[SpanRecord]:
    """Give the records of an OTLP/JSON request.

    Takes what is met in practice besides the standard: base64 or short ids, names of enum values, numbers for times,
    and the outer keys `result`, `batches` and `instrumentationLibrarySpans`. Raises ValueError for what is no OTLP.
    """
    return from_otlp(parse_json(body))


def parse_json(body: bytes | Mapping[str, Any], *, without_bad_ids: bool = False) -> ExportTraceServiceRequest:
    """Give an OTLP/JSON request as protobuf has it; takes and raises what `from_otlp_json` does.

    without_bad_ids: an id that cannot be read is left out, instead of being an error.
    """
    try:
        content = body if isinstance(body, Mapping) else json.loads(body)
        # Through JSON once more, so that nothing of the caller's is changed and no lone surrogate reaches protobuf.
        copied = json.loads(values.well_formed(json.dumps(content, ensure_ascii=False)))
        rewrite = _rewrite_readable_id if without_bad_ids else _rewrite_id
        request = {"resourceSpans": [_with_byte_ids(entry, rewrite) for entry in _resource_spans(copied)]}
        return ParseDict(request, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (JsonFormatError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # Where an object is expected and something else stands, that shows as TypeError or AttributeError.
        raise ValueError(f"not an OTLP/JSON trace request: {error}; send resourceSpans as OTLP defines them") from error


def to_otlp(records: Iterable[SpanRecord]) -> ExportTraceServiceRequest:
    """Give one OTLP request that holds the records in full, grouped by resource and scope."""
    resources: dict[str, Resource] = {}
    spans = []
    for record in records:
        name = repr(sorted(record.resource.items()))
        if name not in resources:
            resources[name] = Resource(dict(record.resource))
        spans.append(to_readable(record, resources[name]))
    return encode_spans(spans)


def _record(span: Span, scope: InstrumentationScope, resource: Attributes) -> SpanRecord:
    return SpanRecord(
        trace_id=_hex(span.trace_id, _TRACE_ID_BYTES),
        span_id=_hex(span.span_id, _SPAN_ID_BYTES),
        parent_span_id=_hex(span.parent_span_id, _SPAN_ID_BYTES) if any(span.parent_span_id) else None,
        name=span.name,
        kind=_KINDS.get(span.kind, "INTERNAL"),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano or None,
        status=_STATUSES.get(span.status.code, "UNSET"),
        status_description=span.status.message or None,
        attributes=_attributes(span.attributes),
        events=tuple(_event(event) for event in span.events),
        links=tuple(_link(link) for link in span.links),
        scope_name=scope.name or None,
        scope_version=scope.version or None,
        resource=resource,
        dropped_attributes=span.dropped_attributes_count,
        dropped_events=span.dropped_events_count,
        dropped_links=span.dropped_links_count,
    )


def _event(event: Span.Event) -> EventRecord:
    return EventRecord(
        name=event.name,
        time_ns=event.time_unix_nano,
        attributes=_attributes(event.attributes),
        dropped_attributes=event.dropped_attributes_count,
    )


def _link(link: Span.Link) -> LinkRecord:
    return LinkRecord(
        trace_id=_hex(link.trace_id, _TRACE_ID_BYTES),
        span_id=_hex(link.span_id, _SPAN_ID_BYTES),
        attributes=_attributes(link.attributes),
    )


def _is_id(identifier: bytes, size: int) -> bool:
    return len(identifier) <= size and any(identifier)


def _hex(identifier: bytes, size: int) -> str:
    return identifier.rjust(size, b"\0").hex()


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind)


def _resource_spans(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the resourceSpans of a request under whichever outer keys they stand."""
    inner = content.get("result", content)
    for name in ("resourceSpans", "resource_spans", "batches"):
        yield from inner.get(name) or ()


def _with_byte_ids(resource_spans: dict[str, Any], rewrite: Callable[..., None]) -> dict[str, Any]:
    """Rewrite ids as the base64 that protobuf's JSON wants, in place; OTLP/JSON writes them in hex."""
    scopes = _first(resource_spans, "scopeSpans", "scope_spans", "instrumentationLibrarySpans") or []
    for scope in scopes:
        scope["scope"] = _first(scope, "scope", "instrumentationLibrary") or {}
        for span in scope.get("spans") or ():
            for identified in (span, *(span.get("links") or ())):
                rewrite(identified, _TRACE_ID_BYTES, "traceId", "trace_id")
                rewrite(identified, _SPAN_ID_BYTES, "spanId", "span_id")
            rewrite(span, _SPAN_ID_BYTES, "parentSpanId", "parent_span_id")
    return {"resource": resource_spans.get("resource") or {}, "scopeSpans": scopes}


def _rewrite_id(holder: dict[str, Any], size: int, *names: str) -> None:
    identifier = _first(holder, *names)
    for name in names:
        holder.pop(name, None)
    if identifier:
        holder[names[0]] = base64.b64encode(_id_bytes(cast("str", identifier), size)).decode()


def _rewrite_readable_id(holder: dict[str, Any], size: int, *names: str) -> None:
    with suppress(ValueError, TypeError, AttributeError):
        _rewrite_id(holder, size, *names)


def _id_bytes(identifier: str, size: int) -> bytes:
    """Read hex digits, where zeros may be missing at the left, else base64."""
    try:
        if len(identifier) <= size * 2:
            return bytes.fromhex(identifier.rjust(size * 2, "0"))
    except ValueError:
        pass
    try:
        found = base64.b64decode(identifier + "=" * (-len(identifier) % 4), validate=True)
    except binascii.Error:
        found = b""
    if len(found) != size:
        raise ValueError(f"id {identifier!r} is neither {size * 2} hex digits nor base64 of {size} bytes")
    return found


def _first(holder: Mapping[str, Any], *names: str) -> Any:
    return next((holder[name] for name in names if holder.get(name) is not None), None)
