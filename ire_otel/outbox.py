"""The outbox: runs whose trace file is written and whose row is not, so that rows survive a database that is down.

{state_dir}/outbox/<trace_id>.json     where the run's trace file is: its row is made from that, when its time comes
{state_dir}/refused/<trace_id>.json    why the database will not take the run's row, however often it is tried
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

OUTBOX: Final = "outbox"
REFUSED: Final = "refused"
_SUFFIX: Final = ".json"


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A row that waits for its database."""

    trace_id: str
    location: str
    """The trace file, as rows name it."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A row that its database refused for its content."""

    trace_id: str
    reason: str


class Outbox:
    """The rows that wait, as files; any number of processes may share it."""

    def __init__(self, state_dir: Path) -> None:
        """Nothing is made before something is put in."""
        self._waiting = state_dir / OUTBOX
        self._refused = state_dir / REFUSED

    def put(self, waiting: Waiting) -> None:
        """Remember that a row has to be written. Raises OSError."""
        _write(self._waiting / f"{waiting.trace_id}{_SUFFIX}", waiting)

    def refuse(self, refused: Refused) -> None:
        """Set a row aside: it waits no longer. Raises OSError."""
        name = f"{refused.trace_id}{_SUFFIX}"
        _write(self._refused / name, refused)
        (self._waiting / name).unlink(missing_ok=True)  # only now, so that it is always in one of them

    def saved(self, trace_ids: Collection[str]) -> None:
        """Learn that rows are in their database."""
        for folder in (self._waiting, self._refused):
            for trace_id in trace_ids if folder.is_dir() else ():  # there is none where nothing ever waited
                with suppress(OSError):
                    (folder / f"{trace_id}{_SUFFIX}").unlink()

    def waiting(self) -> Iterator[Waiting]:
        """Give the rows that wait, those that wait longest first."""
        yield from _read(self._waiting, Waiting)

    def refused(self) -> Iterator[Refused]:
        """Give the rows that were set aside."""
        yield from _read(self._refused, Refused)

    def __len__(self) -> int:
        """Count the rows that wait."""
        return len(_names(self._waiting))

    def waiting_since(self) -> float | None:
        """Give when the row was put in that waits longest, in seconds since 1970; None where none waits."""
        for name in _names(self._waiting):
            with suppress(OSError):
                return (self._waiting / name).stat().st_mtime
        return None


def _write(path: Path, content: msgspec.Struct) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(content))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.stat().st_mtime_ns, entry.name) for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []
    return [name for _, name in sorted(found)]


def _read(folder: Path, kind: type[T]) -> Iterator[T]:
    for name in _names(folder):
        with suppress(OSError, msgspec.MsgspecError):  # taken away by another process; torn by a full disk
            yield msgspec.json.decode((folder / name).read_bytes(), type=kind)
