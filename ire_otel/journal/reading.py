"""Reading journals: those of processes that died, and of others that live."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from ire_otel import runlog
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
        """Give the spans that it holds."""
        return runlog.fold_entries(self.entries if self.header is None else [self.header, *self.entries])


class JournalFolder:
    """The folder of one process, open for reading; a context manager. Live or dead: it is read as it stands."""

    def __init__(self, folder: Path) -> None:
        """Nothing is opened before the context is entered."""
        self.folder = folder
        self.summaries: list[Summary] = []
        """What is in it, without having read it all."""

    def __enter__(self) -> Self:
        """Open the files. Raises OSError, and JournalVersionError."""
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
        last = _content(parts[max(parts)]).rpartition(b"\n")[0].rpartition(b"\n")[2]
        return Summary(
            key=key,
            run_id=header.run_id if header is not None else None,
            trace_id=trace_id,
            sealed=last.startswith(b'["sealed"'),
            bytes=len(parts) * SLOT,
        )

    def _log(self, key: str) -> FoundLog:
        parts = self._logs[key]
        content = b"".join(_content(parts[index]) for index in sorted(parts))
        entries, damaged = runlog.read_entries(content)
        header = _header(self.folder, entries)
        rest: list[runlog.Entry] = [entry for entry in entries if not isinstance(entry, runlog.Header)]
        return FoundLog(folder=self.folder, key=key, header=header, entries=rest, damaged=damaged)


def cut_off_unused(folder: Path) -> None:
    """Give back the disk space behind the last used slot of each file. Raises OSError."""
    for path in folder.glob(f"*{SUFFIX}"):
        with ExitStack() as stack:
            used = [at + SLOT for file in _opened(path, stack) for at in file.slots if _words(file, at)]
        os.truncate(path, max(used, default=0))


class _File:
    """An arena, read with system calls.

    A mapped one would end our process (SIGBUS) where the process that it belongs to cuts it short, as it does when it
    shuts down.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle
        self.slots = range(0, os.fstat(handle).st_size, SLOT)
        """Where slots begin."""

    def read(self, begin: int, length: int) -> bytes:
        """Give the bytes that are there."""
        return os.pread(self._handle, length, begin)


Part = tuple[_File, int]
"""A slot: the file, and where in it the slot begins."""


def _slots(folder: Path, stack: ExitStack) -> dict[str, dict[int, Part]]:
    """Give the used slots in a folder, by log and part."""
    logs: dict[str, dict[int, Part]] = defaultdict(dict)
    files = [file for path in sorted(folder.glob(f"*{SUFFIX}")) for file in _opened(path, stack)]
    for file in files:
        for at in file.slots:
            words = _words(file, at)
            if words:
                _check(file.path, words[1], SLOT_VERSION)
                logs[words[2].decode("utf-8", "replace")][int(words[3])] = file, at
    return logs


def _opened(path: Path, stack: ExitStack) -> Iterator[_File]:
    """Open a file for as long as `stack` is; gives none where its process has taken it away in the meantime."""
    with suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDONLY)
        stack.callback(os.close, handle)
        yield _File(path, handle)


def _words(file: _File, at: int) -> list[bytes]:
    """Give what a slot says of itself; nothing where it is free, or its beginning torn."""
    words = file.read(at, _HEADER).partition(b"\n")[0].split(b" ")
    return words if len(words) == _HEADER_WORDS and words[0] == b"slot" and words[3].isdigit() else []


def _content(part: Part) -> bytes:
    file, at = part
    return file.read(at, SLOT).partition(b"\n")[2].rstrip(b"\0")


def _first_line(part: Part) -> bytes:
    return _content(part).partition(b"\n")[0]


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
