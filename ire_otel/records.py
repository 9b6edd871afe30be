"""SpanRecord: the neutral form of a span, whatever it came from (run log, SDK span, OTLP)."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Attributes = Mapping[str, Any]
"""OpenTelemetry attribute values by name: str, bool, int64, float, or (from foreign spans) lists and maps of those."""

Status = Literal["UNSET", "OK", "ERROR"]
Kind = Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]


class EventRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One event of a span."""

    name: str
    time_ns: int
    """Unix time in nanoseconds."""
    attributes: Attributes = {}
    dropped_attributes: int = 0


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One link of a span to a span of another trace."""

    trace_id: str
    span_id: str
    attributes: Attributes = {}


class SpanRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One span, complete or (end_ns is None) still open."""

    trace_id: str
    """OpenTelemetry trace id, 32 lower-case hex digits."""
    span_id: str
    """16 lower-case hex digits."""
    parent_span_id: str | None = None
    name: str = ""
    kind: Kind = "INTERNAL"
    start_ns: int
    """Unix time in nanoseconds."""
    end_ns: int | None = None
    """Unix time in nanoseconds; None while the span is open, or where it never ended."""
    status: Status = "UNSET"
    status_description: str | None = None
    attributes: Attributes = {}
    events: tuple[EventRecord, ...] = ()
    links: tuple[LinkRecord, ...] = ()
    scope_name: str | None = None
    scope_version: str | None = None
    resource: Attributes = {}
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0


class ExportOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one run in the sinks of ResearchExporter."""

    trace_id: str
    file_path: str | None = None
    """Where the trace file was written; None if it was not."""
    file_error: str | None = None
    row: str | None = None
    """"saved", or "queued: <why>" where the database will be tried again; None if the row was refused."""
    row_error: str | None = None
    cleaned: bool = False
    """Whether a step took something out of its records, so that nobody may keep these as they were."""
    broken: bool = False
    """Whether its records cannot be assembled, by this version of ire-otel, however often that is tried."""
    settled: bool = False
    """Whether nothing is left to be done: the file is safe, and the row in its database, in the outbox, or refused."""
