"""The run log: everything that one process records of one run, as immutable encoded entries, and their fold to spans.

An entry is one line of JSON: an array that begins with its kind. The line is encoded once, inside the call that records
it; the live view and the trace document are folds of the same lines.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from ire_otel.records import EventRecord, LinkRecord, SpanRecord, Status
from ire_otel.semconv import SCOPE
from ire_otel.values import well_formed

FORMAT_VERSION = 1


class Header(msgspec.Struct, frozen=True, array_like=True, tag="log"):
    """First entry of a log: where the entries come from."""

    version: int
    run_id: str
    process: str
    resource: dict[str, Any]


class Start(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """A run or a stage began."""

    span_id: str
    trace_id: str
    parent_span_id: str | None
    name: str
    time_ns: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]] = []


class Set(msgspec.Struct, frozen=True, array_like=True, tag="set"):
    """Attributes of a span were set."""

    span_id: str
    attributes: dict[str, Any]


class Event(msgspec.Struct, frozen=True, array_like=True, tag="event"):
    """A decision, score, iteration or other event was recorded on a span."""

    span_id: str
    time_ns: int
    name: str
    attributes: dict[str, Any]


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """A span ended."""

    span_id: str
    time_ns: int
    status: Status
    description: str | None = None


Entry = Header | Start | Set | Event | End

_decoder = msgspec.json.Decoder(Entry)


def encode(*entry: Any) -> bytes:
    """Encode one entry as a line. Strings must be well formed (`mended` sees to that)."""
    # The join copies the line into a buffer of its own size; the encoder's is kept at 4 KB for a small result.
    return b"".join((orjson.dumps(entry), b"\n"))


def mended(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Give the attributes with every lone surrogate replaced."""
    return {
        well_formed(key): well_formed(value) if isinstance(value, str) else value for key, value in attributes.items()
    }


class RunLog:
    """The entries of one run in one process, by span, in memory.

    Appending is one `list.append`, so threads need no lock; entries of one span are kept in the order of their calls.
    """

    __slots__ = ("foreign", "header", "run_id", "spans")

    def __init__(self, run_id: str, process: str, resource: Mapping[str, Any]) -> None:
        """Begin the log of a run; `resource` describes the process (OpenTelemetry resource attributes)."""
        self.run_id = run_id
        self.header = encode("log", FORMAT_VERSION, run_id, process, dict(resource))
        self.spans: dict[str, list[bytes]] = {}
        self.foreign: list[Any] = []
        """Ended spans of others that started inside the run, as the SDK gave them."""

    def begin(self, span_id: str, line: bytes) -> list[bytes]:
        """File a span's first entry; the list that is returned takes the later ones."""
        lines = [line]
        self.spans[span_id] = lines
        return lines

    def records(self) -> list[SpanRecord]:
        """Fold what is logged so far, foreign spans left out."""
        return fold([self.header, *(line for lines in tuple(self.spans.values()) for line in tuple(lines))])

    def record(self, span_id: str) -> SpanRecord | None:
        """Fold one span; None if it is not in this log."""
        lines = self.spans.get(span_id)
        return fold([self.header, *lines])[0] if lines else None

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return sum(len(line) for lines in tuple(self.spans.values()) for line in tuple(lines))


def fold(lines: Sequence[bytes]) -> list[SpanRecord]:
    """Turn the lines of a log into one record a span, in the order of their starts. Pure."""
    return fold_entries(_decoder.decode_lines(b"".join(lines)))


def fold_entries(entries: Iterable[Entry]) -> list[SpanRecord]:
    """Turn entries into one record a span. An entry of a span whose start is not there is left out."""
    resource: dict[str, Any] = {}
    spans: dict[str, _Unfolded] = {}
    for entry in entries:
        if isinstance(entry, Header):
            resource = entry.resource
        elif isinstance(entry, Start):
            spans[entry.span_id] = _Unfolded(entry)
        elif entry.span_id in spans:
            spans[entry.span_id].add(entry)
    return [span.record(resource) for span in spans.values()]


class _Unfolded:
    """A span while its entries are read."""

    __slots__ = ("attributes", "end", "events", "start")

    def __init__(self, start: Start) -> None:
        self.start = start
        self.attributes = dict(start.attributes)
        self.events: list[EventRecord] = []
        self.end: End | None = None

    def add(self, entry: Set | Event | End) -> None:
        if isinstance(entry, Event):
            self.events.append(EventRecord(name=entry.name, time_ns=entry.time_ns, attributes=entry.attributes))
        elif isinstance(entry, Set):
            self.attributes.update(entry.attributes)
        else:
            self.end = entry

    def record(self, resource: Mapping[str, Any]) -> SpanRecord:
        start, end = self.start, self.end
        return SpanRecord(
            trace_id=start.trace_id,
            span_id=start.span_id,
            parent_span_id=start.parent_span_id,
            name=start.name,
            start_ns=start.time_ns,
            end_ns=end.time_ns if end else None,
            status=end.status if end else "UNSET",
            status_description=end.description if end else None,
            attributes=self.attributes,
            events=tuple(self.events),
            links=tuple(LinkRecord(trace_id=trace_id, span_id=span_id) for trace_id, span_id in start.links),
            scope_name=SCOPE,
            resource=resource,
        )
