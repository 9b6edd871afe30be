"""The run log: everything that one process records of one run, as immutable encoded entries, and their fold to spans.

An entry is one line of JSON: an array that begins with its kind. The line is encoded once, inside the call that records
it; the live view, the trace document and the crash journal are made of the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import orjson

from ire_otel.records import EventRecord, LinkRecord, SpanRecord, Status
from ire_otel.semconv import SCOPE
from ire_otel.values import well_formed

FORMAT_VERSION = 1
_SHORT = 4096
"""Bytes; prompts and evidence are longer."""


class Header(msgspec.Struct, frozen=True, array_like=True, tag="log", gc=False):
    """First entry of a log: where the entries come from."""

    version: int
    run_id: str | None
    """None in a process that knows only the OpenTelemetry trace that it is part of."""
    trace_id: str
    """The OpenTelemetry trace."""
    process: str
    resource: dict[str, Any]


class Start(msgspec.Struct, frozen=True, array_like=True, tag="start", gc=False):
    """A run or a stage began."""

    span_id: str
    trace_id: str
    parent_span_id: str | None
    name: str
    time_ns: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]] = []


class Set(msgspec.Struct, frozen=True, array_like=True, tag="set", gc=False):
    """Attributes of a span were set."""

    span_id: str
    attributes: dict[str, Any]


class Event(msgspec.Struct, frozen=True, array_like=True, tag="event", gc=False):
    """A decision, score, iteration or other event was recorded on a span."""

    span_id: str
    time_ns: int
    name: str
    attributes: dict[str, Any]


class End(msgspec.Struct, frozen=True, array_like=True, tag="end", gc=False):
    """A span ended."""

    span_id: str
    time_ns: int
    status: Status
    description: str | None = None


class Foreign(msgspec.Struct, frozen=True, array_like=True, tag="span", gc=False):
    """A span as a whole: one of somebody else's that started inside the run, or one of ours without its secrets."""

    record: SpanRecord


class Sealed(msgspec.Struct, frozen=True, array_like=True, tag="sealed"):
    """Everything before this entry is in file and row."""

    time_ns: int


class Terminated(msgspec.Struct, frozen=True, array_like=True, tag="terminated"):
    """A signal is about to end the process."""

    signal: str
    time_ns: int


SpanEntry = Set | Event | End
Entry = Header | Start | SpanEntry | Foreign | Sealed | Terminated

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


class Sink(Protocol):
    """Where a log's lines go besides memory: the crash journal."""

    broken: bool
    """Whether a line is missing from it."""

    @property
    def position(self) -> tuple[int, int]:
        """Where the next line goes; changes with each line."""
        ...

    def write(self, line: bytes) -> bool:
        """Take a line; False where it takes no more, and another must. Never raises."""
        ...

    def read(self) -> bytes:
        """Give every line that was taken."""
        ...

    def sync(self) -> None:
        """Make what was taken survive the machine. Raises OSError."""
        ...


class RunLog:
    """The entries of one run in one process, by span.

    Appending is one `list.append` and one store into the journal; entries of one span keep the order of their calls.
    """

    __slots__ = (
        "foreign",
        "header",
        "in_memory",
        "joined",
        "journal",
        "run_id",
        "spans",
        "successor",
        "synced",
        "trace_id",
    )

    def __init__(  # a log is begun in one place, with everything that it needs
        self,
        run_id: str,
        process: str,
        resource: Mapping[str, Any],
        *,
        trace_id: str = "",
        journal: Sink | None = None,
        successor: Callable[[], RunLog] | None = None,
        synced: bool = False,
        joined: bool = False,
    ) -> None:
        """Begin the log of a run.

        run_id: the run's; empty in a process that knows only the OpenTelemetry trace.
        resource: describes the process (OpenTelemetry resource attributes).
        successor: gives the log that takes what comes after this one's journal was released.
        synced: whether the journal is written to the disk where a span ends, so that it survives the machine.
        joined: whether the run is another process's.
        """
        self.synced = synced
        self.joined = joined
        self.successor = successor
        self.run_id = run_id
        self.trace_id = trace_id
        self.header = encode("log", FORMAT_VERSION, run_id or None, trace_id, process, dict(resource))
        self.spans: dict[str, list[bytes]] = {}
        self.foreign: list[SpanRecord] = []
        """Ended spans of others that started inside the run."""
        self.in_memory = True
        """Whether every entry is in memory; else the journal has them all."""
        self.journal = journal
        if journal is not None:
            journal.write(self.header)

    def begin(self, span_id: str, line: bytes) -> list[bytes]:
        """File a span's first entry; the list that is returned takes the later ones."""
        lines = self.spans.setdefault(span_id, [])  # there already where somebody's ids are not unique
        self.put(lines, line)
        return lines

    def put(self, lines: list[bytes], line: bytes) -> None:
        """File a later entry of the span that `lines` are of."""
        lines.append(line)
        if self.journal is not None and not self.journal.write(line):
            self._pass_on(line)

    def _pass_on(self, line: bytes) -> None:
        """File a line that came after this log was let go of: its spans are known to the document, or to a parent."""
        if self.successor is not None:
            self.successor().put([], line)

    def span_ended(self) -> None:
        """Learn that a span ended. Raises OSError."""
        if self.synced and self.journal is not None:
            self.journal.sync()

    def add_foreign(self, record: SpanRecord) -> None:
        """File an ended span of somebody else's."""
        self.foreign.append(record)
        if self.journal is not None:
            line = msgspec.json.encode(Foreign(record)) + b"\n"
            if not self.journal.write(line):
                self._pass_on(line)

    def records(self) -> list[SpanRecord]:
        """Fold what is logged so far."""
        if not self.in_memory and self.journal is not None:
            return fold_entries(read_entries(self.journal.read())[0])
        lines = [self.header, *(line for lines in tuple(self.spans.values()) for line in tuple(lines))]
        return [*fold(lines), *tuple(self.foreign)]

    @property
    def position(self) -> tuple[int, int] | None:
        """How far the journal has got; None without one."""
        return None if self.journal is None else self.journal.position

    def steps(self) -> list[bytes]:
        """Give the entries that tell how far the run is: starts, ends and short attributes."""
        lines = (line for lines in tuple(self.spans.values()) for line in tuple(lines))
        return [self.header, *(line for line in lines if len(line) < _SHORT and not line.startswith(b'["event"'))]

    def record(self, span_id: str) -> SpanRecord | None:
        """Fold one span; None if it is not in memory."""
        lines = self.spans.get(span_id)
        return fold([self.header, *lines])[0] if lines else None

    def cleaned(self, records: Sequence[SpanRecord]) -> Iterator[bytes]:
        """Give the lines of a journal that holds these records in place of what was logged."""
        return lines_of(msgspec.json.decode(self.header, type=Header), records)

    def spill(self) -> bool:
        """Forget what the journal holds too; False where it does not hold everything."""
        if self.journal is None or self.journal.broken:
            return False
        self.in_memory = False
        self.spans.clear()
        self.foreign.clear()
        return True

    @property
    def size(self) -> int:
        """Bytes of all entries in memory; foreign spans left out."""
        return sum(sum(map(len, tuple(lines))) for lines in tuple(self.spans.values()))


def lines_of(header: Header, records: Sequence[SpanRecord]) -> Iterator[bytes]:
    """Give the lines of a log that holds whole spans, and of its header only what these say."""
    resource = dict(records[0].resource) if records else {}
    yield msgspec.json.encode(msgspec.structs.replace(header, resource=resource)) + b"\n"
    for record in records:
        yield msgspec.json.encode(Foreign(record)) + b"\n"


def fold(lines: Sequence[bytes]) -> list[SpanRecord]:
    """Turn the lines of a log into one record a span, in the order of their starts. Pure."""
    return fold_entries(_decoder.decode_lines(b"".join(lines)))


def fold_entries(entries: Iterable[Entry]) -> list[SpanRecord]:
    """Turn entries into one record a span. A span whose start is not there is left out."""
    resource: dict[str, Any] = {}
    starts: dict[str, Start] = {}
    later: dict[str, list[SpanEntry]] = {}
    foreign: list[SpanRecord] = []
    for entry in entries:
        if isinstance(entry, SpanEntry):
            later.setdefault(entry.span_id, []).append(entry)
        elif isinstance(entry, Start):
            starts.setdefault(entry.span_id, entry)
        elif isinstance(entry, Header):
            resource = entry.resource
        elif isinstance(entry, Foreign):
            foreign.append(entry.record)
    own = [_Unfolded(start, later.get(span_id, ())).record(resource) for span_id, start in starts.items()]
    return [*own, *(_continued(record, later.get(record.span_id, ())) for record in foreign)]


def read_entries(content: bytes) -> tuple[list[Entry], int]:
    """Read the entries of a journal, and count the lines that are none: torn, cut short, or written over."""
    try:
        return _decoder.decode_lines(content), 0
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    entries: list[Entry] = []
    damaged = 0
    for line in content.split(b"\n"):
        try:
            if line.strip(b"\0"):
                entries.append(_decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            damaged += 1
    return entries, damaged


def _continued(record: SpanRecord, later: Sequence[SpanEntry]) -> SpanRecord:
    """Add what came after a span was logged whole."""
    if not later:
        return record
    start = Start(
        record.span_id, record.trace_id, record.parent_span_id, record.name, record.start_ns, dict(record.attributes)
    )
    more = _Unfolded(start, later).record(record.resource)
    ended = {} if more.end_ns is None else {"end_ns": more.end_ns, "status": more.status}
    return msgspec.structs.replace(
        record, attributes=more.attributes, events=(*record.events, *more.events), **ended
    )  # fmt: skip


class _Unfolded:
    """A span while its entries are read."""

    __slots__ = ("attributes", "end", "events", "start")

    def __init__(self, start: Start, later: Iterable[SpanEntry]) -> None:
        self.start = start
        self.attributes = dict(start.attributes)
        self.events: list[EventRecord] = []
        self.end: End | None = None
        for entry in later:
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
