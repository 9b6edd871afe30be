"""The trace file: written whole or not at all."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ire_otel import reader
from ire_otel.errors import TraceFileError


def write(path: Path, data: bytes, records: int, *, synced: bool = False) -> bool:
    """Write a trace document to `path`, unless one made from more records is there already; True if it was written.

    synced: whether the file's name, too, is to survive the machine before this returns.

    Temporary file in the same folder, fsync, then its name: a reader sees the old file or the new one, whatever
    happens. Two processes may write the same run. Raises OSError.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp")
    try:
        _write_new(temporary, data)
        written = _is_first(temporary, path) or _replaced(temporary, path, records)
        if written and synced:
            _sync(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    return written


def _is_first(temporary: Path, path: Path) -> bool:
    """Give a file its name if no other has it. Takes two calls to the system; under a lock it would be six."""
    try:
        path.hardlink_to(temporary)
    except OSError:
        return False  # another has it, or this file system has no links
    return True


def _replaced(temporary: Path, path: Path, records: int) -> bool:
    """Give a file its name, unless the one that has it was made from more records."""
    with _held(path.parent):
        if path.exists() and _records_in(path) > records:
            return False
        temporary.replace(path)
    return True


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, and bring it to the disk."""
    try:
        handle = os.open(path, _NEW, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, _NEW, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)


_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder, so that nobody replaces a file between our look at it and our own replacing it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    _holding.add(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        # Closing alone unlocks nothing while a child that was forked in between has it open, too.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        _holding.discard(handle)
        os.close(handle)


_holding: set[int] = set()
"""Folders that this process holds."""


def _let_go() -> None:
    """In a forked child: let go of what the parent holds, or nobody could have it if the parent were killed now."""
    for handle in _holding:
        os.close(handle)
    _holding.clear()


os.register_at_fork(after_in_child=_let_go)


def _records_in(path: Path) -> int:
    try:
        return reader.decode(path.read_bytes(), str(path)).metadata.records
    except (TraceFileError, OSError):
        return 0  # what cannot be read is no document that a write could harm
