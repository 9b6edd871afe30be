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

    Temporary file in the same folder, fsync, rename: a reader sees the old file or the new one, whatever happens. Two
    processes may write the same run. Raises OSError.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp")
    try:
        _write_new(temporary, data)
        with _folder(path.parent) as folder:
            poorer = path.exists() and _records_in(path) > records
            if not poorer:
                temporary.replace(path)
                if synced:
                    os.fsync(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if poorer:
        temporary.unlink(missing_ok=True)
    return not poorer


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
def _folder(path: Path) -> Iterator[int]:
    """Hold a folder, so that nobody replaces a file between our look at it and our own replacing it."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    _held.add(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        # Closing alone unlocks nothing while a child that was forked in between has it open, too.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        _held.discard(handle)
        os.close(handle)


_held: set[int] = set()
"""Folders that this process holds."""


def _let_go() -> None:
    """In a forked child: let go of what the parent holds, or nobody could have it if the parent were killed now."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def _records_in(path: Path) -> int:
    try:
        return reader.decode(path.read_bytes(), str(path)).metadata.records
    except (TraceFileError, OSError):
        return 0  # what cannot be read is no document that a write could harm
