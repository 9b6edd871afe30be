"""Request bodies to frames of spans: decompressed within limits, parsed, and what cannot be taken counted."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ire_otel import semconv
from ire_otel.records import SpanRecord
from ire_otel.server.inbox import Arrival
from ire_otel.server.refusals import MalformedError, TooLargeError
from ire_otel.server.segments import encode_spans
from ire_otel_exporters.grouping import has_usable_run_id
from ire_otel_exporters.otlp import from_otlp, parse_json

Form = Literal["protobuf", "json"]
Ends = Callable[[SpanRecord], bool]
"""Tells whether a run has ended with a span."""

EXPANSION: Final = 4
"""How many times the largest body the spans of a request may take up: what they share is stored for each trace."""
_MEMBERS: Final = 1000
"""Most gzip members of a body; each costs a copy of what follows it."""
_GZIP_OR_ZLIB: Final = 47
_GZIP_MAGIC: Final = b"\x1f\x8b"


class Taken(msgspec.Struct, frozen=True):
    """What a request held."""

    arrivals: list[Arrival]
    rejected: Counter[str]
    """Spans that cannot be taken, by reason."""

    @property
    def bytes(self) -> int:
        """Bytes that are to be stored."""
        return sum(len(arrival.payload) for arrival in self.arrivals)


def is_gzip(message: bytes) -> bool:
    """Tell whether a message is compressed. No OTLP request begins so: it would be a field of a type that is not."""
    return message.startswith(_GZIP_MAGIC)


def inflate(body: bytes, limit: int) -> bytes:
    """Decompress gzip or zlib. Never holds more than `limit` bytes; raises TooLargeError, MalformedError."""
    parts: list[bytes] = []
    room = limit
    for _ in range(_MEMBERS):
        decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            part = decompressor.decompress(body, room + 1)
        except zlib.error as error:
            raise MalformedError(f"the body is not what its Content-Encoding says: {error}") from error
        room -= len(part)
        if room < 0:
            raise TooLargeError(f"the body is larger than {limit} bytes once decompressed; send smaller batches")
        if not decompressor.eof:
            raise MalformedError("the compressed body is cut short; send it whole")
        parts.append(part)
        body = decompressor.unused_data
        if not body:
            return b"".join(parts)
    raise MalformedError(f"the body has more than {_MEMBERS} gzip members; compress it at once")


def take(body: bytes, form: Form, limit: int, ends: Ends) -> Taken:
    """Read a request. Raises MalformedError, and TooLargeError where its spans take up far more than `limit` bytes."""
    request = _parsed(body, form)
    rejected: Counter[str] = Counter()
    records = from_otlp(request)
    rejected["their trace id or span id is missing or too long"] = _spans(request) - len(records)
    traces: dict[str, list[SpanRecord]] = {}
    for record in records:
        if has_usable_run_id(record):
            traces.setdefault(record.trace_id, []).append(record)
        else:
            rejected[f"their {semconv.RUN_ID} is no run id"] += 1
    return Taken(_arrivals(traces.values(), EXPANSION * limit, ends), +rejected)


def _parsed(body: bytes, form: Form) -> ExportTraceServiceRequest:
    try:
        if form == "json":
            return parse_json(body, without_bad_ids=True)
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise MalformedError(
            f"not an OTLP trace request in protobuf: {error}; send ExportTraceServiceRequest"
        ) from error
    except ValueError as error:
        raise MalformedError(str(error)) from error


def _spans(request: ExportTraceServiceRequest) -> int:
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def _arrivals(traces: Iterable[Sequence[SpanRecord]], limit: int, ends: Ends) -> list[Arrival]:
    arrivals = []
    room = limit
    for records in traces:
        room -= sum(len(record.scope_name or "") + len(record.scope_version or "") for record in records)
        if room >= 0:
            run_ended = any(map(ends, records))
            arrivals.append(Arrival(records[0].trace_id, run_ended, encode_spans(records), len(records)))
            room -= len(arrivals[-1].payload)
        if room < 0:
            raise TooLargeError(f"the spans take up more than {limit} bytes, each with what they share; send fewer")
    return arrivals
