"""Reading journals: those of processes that died, and of others that live."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from ire_otel import runlog
from ire_otel.journal.arena import SLOT, SUFFIX
from ire_otel.journal.writing import SLOT_VERSION
from ire_otel.errors import JournalVersionError
from ire_otel.records import SpanRecord

_HEADER: Final = 200
"""Bytes in which a slot says what it is."""
_HEADER_WORDS: Final = 4


class FoundLog(msgspec.Struct, kw_only=True):
    """One log as it stands in a journal."""

    folder: Path
    """The folder of the process that wrote it."""
    key: str
    header: runlog.Header | None
    """None where it is torn; the entries speak for themselves."""
    entries: list[runlog.Entry]
    bytes: int = 0
    """How much it holds."""
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


def logs_in(folder: Path, trace_id: str | None = None) -> list[FoundLog]:
    """Give the logs in the folder of one process, or those of one OpenTelemetry trace, the oldest first.

    Raises OSError, and JournalVersionError.
    """
    wanted = (trace_id or "").encode()
    found = [_log(folder, key, parts) for key, parts in _parts(folder).items() if wanted in parts.get(0, b"")]
    if trace_id is not None:
        found = [log for log in found if log.trace_id == trace_id]
    return sorted((log for log in found if log.entries), key=lambda log: _first_time(log.entries))


def trace_ids_in(folder: Path) -> dict[str, bool]:
    """Give the OpenTelemetry traces that a folder has logs of, and whether all of these are sealed, the oldest first.

    Raises OSError, and JournalVersionError.
    """
    sealed: dict[str, bool] = {}
    for key, parts in _parts(folder).items():
        first = _log(folder, key, {0: parts[0].partition(b"\n")[0]} if 0 in parts else parts)
        trace_id = first.trace_id or _log(folder, key, parts).trace_id
        if trace_id is not None:
            last = parts[max(parts)].rpartition(b"\n")[0].rpartition(b"\n")[2]
            sealed[trace_id] = sealed.get(trace_id, True) and last.startswith(b'["sealed"')
    return sealed


def _parts(folder: Path) -> dict[str, dict[int, bytes]]:
    """Give the content of the slots in a folder, by log and part."""
    slots: dict[str, dict[int, bytes]] = defaultdict(dict)
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        for key, index, content in _slots(path):
            slots[key][index] = content
    return slots


def _slots(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Give the used slots of a file: log, part, content."""
    try:
        with path.open("rb") as file:
            while data := file.read(SLOT):
                words = data[:_HEADER].partition(b"\n")[0].split(b" ")
                if len(words) == _HEADER_WORDS and words[0] == b"slot" and words[3].isdigit():
                    _check(path, words[1], SLOT_VERSION)
                    yield words[2].decode("utf-8", "replace"), int(words[3]), data.partition(b"\n")[2].rstrip(b"\0")
    except FileNotFoundError:
        return  # its process has ended, and tidied up, in the meantime


def _log(folder: Path, key: str, parts: dict[int, bytes]) -> FoundLog:
    content = b"".join(parts[index] for index in sorted(parts))
    entries, damaged = runlog.read_entries(content)
    header = next((entry for entry in entries if isinstance(entry, runlog.Header)), None)
    if header is not None:
        _check(folder, b"%d" % header.version, runlog.FORMAT_VERSION)
    rest = [entry for entry in entries if not isinstance(entry, runlog.Header)]
    return FoundLog(folder=folder, key=key, header=header, entries=rest, bytes=len(content), damaged=damaged)


def _check(place: Path, version: bytes, known: int) -> None:
    if version != b"%d" % known:
        raise JournalVersionError(
            f"{place} is a journal of version {version.decode('utf-8', 'replace')}, this ire-otel reads version {known}: "
            "recover it with the version that wrote it"
        )


def _first_time(entries: list[runlog.Entry]) -> int:
    return next((entry.time_ns for entry in entries if isinstance(entry, runlog.Start)), 0)
