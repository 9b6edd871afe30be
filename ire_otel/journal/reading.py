"""Reading journals: those of processes that died, and of others that live."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import msgspec

from ire_otel import runlog, semconv
from ire_otel.errors import JournalVersionError
from ire_otel.journal.arena import SLOT, SUFFIX
from ire_otel.journal.writing import SLOT_VERSION
from ire_otel.records import SpanRecord

_HEADER: Final = 200
"""Bytes in which a slot says what it is."""
_HEADER_WORDS: Final = 4


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One log, as far as its beginning and its end tell."""

    key: str
    run_id: str | None
    trace_id: str
    """The OpenTelemetry trace."""
    sealed: bool
    """Whether everything in it is in file and row."""
    bytes: int
    """Of disk space."""


class FoundLog(msgspec.Struct, kw_only=True):
    """One log as it stands in a journal."""

    folder: Path
    """The folder of the process that wrote it."""
    key: str
    header: runlog.Header | None
    """None where it is torn; the entries speak for themselves."""
    entries: list[runlog.Entry]
    damaged: int = 0
    """Lines that could not be read, left out."""

    @property
    def run_id(self) -> str | None:
        """The run; None where the log knows only the OpenTelemetry trace."""
        return (self.header.run_id if self.header is not None else None) or None

    @property
    def trace_id(self) -> str | None:
        """The OpenTelemetry trace."""
        if self.header is not None:
            return self.header.trace_id
        return next((entry.trace_id for entry in self.entries if isinstance(entry, runlog.Start)), None)

    @property
    def sealed(self) -> bool:
        """Whether everything in it is in file and row."""
        return bool(self.entries) and isinstance(self.entries[-1], runlog.Sealed)

    @property
    def terminated(self) -> str | None:
        """The signal that ended its process, where it had time to say so."""
        return next((entry.signal for entry in self.entries if isinstance(entry, runlog.Terminated)), None)

    def records(self) -> list[SpanRecord]:
        """Give the spans that it holds; events whose own span is torn sit on the run's, for they name their stage."""
        run_span = (self.run_id or "").rpartition("_")[2]
        entries: list[runlog.Entry] = list(self.entries)
        if run_span in self._started():
            torn = {entry.span_id for entry in self._unstarted()}
            entries = [
                msgspec.structs.replace(entry, span_id=run_span)
                if isinstance(entry, runlog.Event) and entry.span_id in torn
                else entry
                for entry in entries
            ]
        return runlog.fold_entries(entries if self.header is None else [self.header, *entries])

    def everything(self) -> list[SpanRecord]:
        """Give the spans that it holds, and nameless ones for what was said of spans whose start is not here."""
        torn = {entry.span_id: getattr(entry, "time_ns", 0) for entry in reversed(self._unstarted())}
        nameless = [
            runlog.Start(span_id, self.trace_id or "", None, "", time_ns, {semconv.RUN_ID: self.run_id or ""})
            for span_id, time_ns in torn.items()
        ]
        return runlog.fold_entries([*([] if self.header is None else [self.header]), *nameless, *self.entries])

    def _started(self) -> set[str]:
        return {entry.span_id for entry in self.entries if isinstance(entry, runlog.Start)}

    def _unstarted(self) -> list[runlog.SpanEntry]:
        started = self._started()
        return [entry for entry in self.entries if isinstance(entry, runlog.SpanEntry) and entry.span_id not in started]


class JournalFolder:
    """The folder of one process, open for reading; a context manager. Live or dead: it is read as it stands."""

    def __init__(self, folder: Path) -> None:
        """Nothing is opened before the context is entered."""
        self.folder = folder
        self.summaries: list[Summary] = []
        """What is in it, without having read it all."""

    def __enter__(self) -> Self:
        """Map the files. Raises OSError, and JournalVersionError."""
        with ExitStack() as stack:
            self._logs = _slots(self.folder, stack)
            self.summaries = [summary for key in self._logs if (summary := self._summary(key)) is not None]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the files."""
        self._logs.clear()
        self._stack.close()

    def logs(self, trace_id: str | None = None) -> list[FoundLog]:
        """Read the logs, or those of one OpenTelemetry trace, the oldest first."""
        found = [self._log(log.key) for log in self.summaries if trace_id in {None, log.trace_id}]
        return sorted(found, key=lambda log: _first_time(log.entries))

    def _summary(self, key: str) -> Summary | None:
        parts = self._logs[key]
        header = _header(self.folder, runlog.read_entries(_first_line(parts[0]))[0]) if 0 in parts else None
        trace_id = header.trace_id if header is not None else self._log(key).trace_id
        if trace_id is None:
            return None
        last = _content(parts[max(parts)]).rstrip(b"\0").rpartition(b"\n")[0].rpartition(b"\n")[2]
        return Summary(
            key=key,
            run_id=header.run_id if header is not None else None,
            trace_id=trace_id,
            sealed=last.startswith(b'["sealed"'),
            bytes=len(parts) * SLOT,
        )

    def _log(self, key: str) -> FoundLog:
        parts = self._logs[key]
        content = b"".join(_content(parts[index]) for index in sorted(parts)).rstrip(b"\0")
        entries, damaged = runlog.read_entries(content)
        damaged += max(parts) + 1 - len(parts)  # a slot whose beginning is torn is one line at least
        header = _header(self.folder, entries)
        rest: list[runlog.Entry] = [entry for entry in entries if not isinstance(entry, runlog.Header)]
        return FoundLog(folder=self.folder, key=key, header=header, entries=rest, damaged=damaged)


def cut_off_unused(folder: Path) -> None:
    """Give back the disk space behind the last used slot of each file. Raises OSError."""
    for path in folder.glob(f"*{SUFFIX}"):
        with ExitStack() as stack:
            used = [offset + SLOT for handle, offset in _slots_of(path, stack) if _words(handle, offset)]
        os.truncate(path, max(used, default=0))


Part = tuple[int, int]
"""A slot: the handle of its file, and where in it the slot begins.

Files are read, not mapped: their process, or another recovery, may cut one short at any time, and a look at a mapped
page that is gone is SIGBUS.
"""


def _slots(folder: Path, stack: ExitStack) -> dict[str, dict[int, Part]]:
    """Give the used slots in a folder, by log and part."""
    logs: dict[str, dict[int, Part]] = defaultdict(dict)
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        for handle, offset in _slots_of(path, stack):
            words = _words(handle, offset)
            if words:
                _check(path, words[1], SLOT_VERSION)
                logs[words[2].decode("utf-8", "replace")][int(words[3])] = handle, offset
    return logs


def _slots_of(path: Path, stack: ExitStack) -> list[Part]:
    """Give all slots of a file; none where its process has taken it away in the meantime."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return []
    stack.callback(os.close, handle)
    return [(handle, offset) for offset in range(0, os.fstat(handle).st_size, SLOT)]


def _words(handle: int, offset: int) -> list[bytes]:
    """Give what a slot says of itself; nothing where it is free, or its beginning torn."""
    said, _, checksum = os.pread(handle, _HEADER, offset).partition(b"\n")[0].rpartition(b" ")
    if checksum != b"%08x" % zlib.crc32(said):
        return []
    words = said.split(b" ")
    return words if len(words) == _HEADER_WORDS and words[0] == b"slot" else []


def _content(part: Part) -> bytes:
    return os.pread(part[0], SLOT, part[1]).partition(b"\n")[2]


def _first_line(part: Part) -> bytes:
    line, end, _ = _content(part).partition(b"\n")
    return line if end else b""


def _header(folder: Path, entries: Iterable[runlog.Entry]) -> runlog.Header | None:
    header = next((entry for entry in entries if isinstance(entry, runlog.Header)), None)
    if header is not None:
        _check(folder, b"%d" % header.version, runlog.FORMAT_VERSION)
    return header


def _check(place: Path, version: bytes, known: int) -> None:
    if version != b"%d" % known:
        raise JournalVersionError(
            f"{place} is a journal of version {version.decode('utf-8', 'replace')}, this ire-otel reads version "
            f"{known}: recover it with the version that wrote it"
        )


def _first_time(entries: list[runlog.Entry]) -> int:
    return next((entry.time_ns for entry in entries if isinstance(entry, runlog.Start)), 0)
