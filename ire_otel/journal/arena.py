"""Arenas: memory-mapped files of equal slots, in which the journals of a process lie.

A store into a mapped page needs no system call and is the kernel's at once, so it survives the death of the process.
The space is reserved beforehand: a store into a sparse file on a full disk would kill the process with SIGBUS. What the
next runs need is written beforehand, too: the first store into a page that was not takes the caller 3 µs.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec

SLOT: Final = 64 * 1024
"""Bytes of a slot."""
SLOTS: Final = 64
"""Slots of an arena."""
SUFFIX: Final = ".arena"
READY: Final = 16
"""Slots that wait, written beforehand, for the next runs."""
_ZEROS: Final = bytes(READY * SLOT)
_HEADER: Final = 128
"""Bytes at the start of a slot whose erasure makes it a free one."""


class Slot(msgspec.Struct, frozen=True, eq=False):
    """One slot: the bytes from `start` on, SLOT of them, in a mapped file."""

    path: Path
    map: mmap.mmap
    start: int

    def write(self, content: bytes) -> None:
        """Write to the file itself, from this slot on. Raises OSError."""
        handle = os.open(self.path, os.O_WRONLY)
        try:
            os.pwrite(handle, content, self.start)
        finally:
            os.close(handle)

    def erase(self, used: int) -> None:
        """Zero the first `used` bytes; the header goes first, so that a slot half erased is a free one."""
        for begin, end in ((0, min(_HEADER, used)), (_HEADER, used)):
            if begin < end:
                self.map[self.start + begin : self.start + end] = bytes(end - begin)

    def sync(self) -> None:
        """Write the slot to the disk."""
        self.map.flush(self.start, SLOT)


class Arenas:
    """The slots of one process, made as they are needed and used again and again. Any thread."""

    def __init__(self, folder: Path, name: str = "") -> None:
        """`folder` exists, or does when the first slot is taken; `name` begins the names of its files."""
        self._folder = folder
        self._name = name
        self._ready: deque[Slot] = deque()
        self._fresh: deque[list[Slot]] = deque()
        """Slots that were never used, READY of them together."""
        self._files: list[tuple[Path, list[Slot]]] = []
        self._closed = False
        self.complained = False
        """Whether somebody has said that no file can be made; False again once one could."""
        self._lock = threading.Lock()
        self._few = threading.Event()
        """Set while fewer slots wait than should."""
        self._keeper: threading.Thread | None = None

    def take(self) -> Slot:
        """Give a zeroed slot. Raises OSError where no file can be made for it."""
        try:
            slot = self._ready.pop()  # the one used last: its pages are in memory
        except IndexError:
            self._ready.extend(reversed(self._take_fresh()))
            return self.take()
        if len(self._ready) < READY and not self._few.is_set():
            self._few.set()
        return slot

    def give_back(self, slots: Sequence[Slot]) -> None:
        """Take slots back, erased."""
        self._ready.extend(slots)

    def prepare(self) -> None:
        """See to it that slots wait, so that no run has to wait for one. Raises OSError.

        From then on a thread does, for whoever calls this may be waiting for a database when the next are needed.
        """
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="ire-otel-journals", daemon=True)
            with suppress(RuntimeError):  # the interpreter exits
                self._keeper.start()
        self._make_ready()

    def close(self) -> None:
        """Give no more slots, and cut off the disk space behind the last one in use."""
        with self._lock:
            self._closed = True
            self._few.set()
            free = {*self._ready, *chain.from_iterable(self._fresh)}
            self._ready.clear()
            self._fresh.clear()
        for path, slots in self._files:
            used = [slot.start + SLOT for slot in slots if slot not in free]
            with suppress(OSError):
                os.truncate(path, max(used, default=0))

    def _keep(self) -> None:
        while self._few.wait() and not self._closed:
            self._few.clear()
            with suppress(OSError):  # whoever needs one says so
                self._make_ready()

    def _make_ready(self) -> None:
        while len(self._ready) < READY:
            slots = self._take_fresh()
            with suppress(OSError):  # they take stores all the same
                slots[0].write(_ZEROS)
            self._ready.extendleft(slots)

    def _take_fresh(self) -> list[Slot]:
        while True:
            try:
                return self._fresh.popleft()
            except IndexError:
                self._add()

    def _add(self) -> None:
        with self._lock:
            if self._closed:
                raise OSError(errno.ESHUTDOWN, "ire-otel was shut down")
            if self._fresh:
                return  # another thread has just added some
            path = self._folder / f"{self._name}{len(self._files):04}{SUFFIX}"
            whole = _mapped(path, SLOT * SLOTS)
            self.complained = False
            slots = [Slot(path, whole, start) for start in range(0, SLOT * SLOTS, SLOT)]
            self._files.append((path, slots))
            self._fresh.extend(slots[begin : begin + READY] for begin in range(0, SLOTS, READY))


def _mapped(path: Path, size: int) -> mmap.mmap:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)
        else:  # macOS
            os.write(handle, bytes(size))
        return mmap.mmap(handle, size)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
