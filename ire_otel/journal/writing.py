"""The journal of one log: a chain of slots that its lines are stored in as they are recorded."""

from __future__ import annotations

import logging
import mmap
import threading
import zlib
from typing import Final

from ire_otel.journal.arena import SLOT, Arenas, Slot

logger = logging.getLogger("ire_otel")

SLOT_VERSION: Final = 1
"""Version of how slots are laid out."""


def slot_header(key: str, index: int) -> bytes:
    """Give the line that begins a slot: which log it belongs to, which part of it this is, and a checksum of that."""
    words = f"slot {SLOT_VERSION} {key} {index}".encode()
    return b"%b %08x\n" % (words, zlib.crc32(words))


class Journal:
    """Where the lines of one log go, each safe from the death of the process when `write` returns.

    Lines may run on from one slot to the next. Nothing here raises: where no slot is to be had (a full disk), the
    journal is `broken`, said once, and the log lives in memory alone. Any thread may write.
    """

    __slots__ = ("_arenas", "_at", "_key", "_limit", "_lock", "_map", "_slots", "broken", "ended")

    def __init__(self, arenas: Arenas, key: str) -> None:
        """`key` tells this log from the others of its process; it holds no blank."""
        self._arenas = arenas
        self._key = key
        self._slots: list[Slot] = []
        self._map: mmap.mmap | bytearray = bytearray()
        self._at = self._limit = 0
        # Reentrant, because a signal handler of ours writes too, perhaps in the middle of a write on its own thread.
        self._lock = threading.RLock()
        self.broken = False
        """Whether a line is missing from it."""
        self.ended = False
        """Whether it takes no more lines: released, or of a process that we were forked from."""

    @property
    def size(self) -> int:
        """Bytes that it takes up."""
        return len(self._slots) * SLOT

    @property
    def position(self) -> tuple[int, int]:
        """Where the next line goes; changes with each line."""
        return len(self._slots), self._at

    def write(self, line: bytes) -> bool:
        """Store a line; False where this journal takes no more, and another must."""
        with self._lock:
            at = self._at
            end = at + len(line)
            if end > self._limit:
                return self._write_on(line)
            self._map[at:end] = line
            self._at = end
            return True

    def _write_on(self, line: bytes) -> bool:
        """Store what fits, and the rest in slots of its own."""
        if self.ended:
            return False
        rest = memoryview(line)
        while rest and not self.broken:
            if self._at == self._limit and not self._next_slot():
                break
            part = rest[: self._limit - self._at]
            self._map[self._at : self._at + len(part)] = part
            self._at += len(part)
            rest = rest[len(part) :]
        return True

    def _next_slot(self) -> bool:
        try:
            slot = self._arenas.take()
        except OSError as error:
            self.broken = True
            if not self._arenas.complained:
                self._arenas.complained = True
                logger.error(  # noqa: TRY400 # the cause is the system's, in one line
                    "the journal cannot grow (%s); until its disk has room again, runs are safe from errors, but not "
                    "from the death of the process",
                    error.strerror,
                )
            return False
        header = slot_header(self._key, len(self._slots))
        slot.map[slot.start : slot.start + len(header)] = header
        self._slots.append(slot)
        self._map, self._at, self._limit = slot.map, slot.start + len(header), slot.start + SLOT
        return True

    def seal(self, line: bytes, position: tuple[int, int]) -> bool:
        """Store the line that says that everything up to `position` is safe; False where more has come since."""
        with self._lock:
            return position == self.position and self.write(line)

    def squeeze_in(self, line: bytes) -> None:
        """Store a line if there is room for it just here: in a signal handler, which must not wait for more."""
        with self._lock:
            if self._at + len(line) <= self._limit:
                self.write(line)

    def read(self) -> bytes:
        """Give all that was stored."""
        with self._lock:
            slots, at = tuple(self._slots), self._at
        parts = []
        for index, slot in enumerate(slots):
            end = at if slot is slots[-1] else slot.start + SLOT
            parts.append(bytes(slot.map[slot.start + len(slot_header(self._key, index)) : end]))
        return b"".join(parts)

    def sync(self) -> None:
        """Write what was stored to the disk; it survives the machine then. Raises OSError."""
        for slot in tuple(self._slots):
            slot.sync()

    def release(self, position: tuple[int, int] | None = None) -> bool:
        """Give the slots back: what was stored is safe elsewhere. The last one, which may say so, is erased last.

        position: what was safe; False, and nothing done, where a line has come since.
        """
        with self._lock:
            if position not in {None, self.position}:
                return False
            self.ended = True
            slots, at = self._slots, self._at
            self._slots, self._at, self._limit = [], 0, 0
        for slot in slots:
            slot.erase(at - slot.start if slot is slots[-1] else SLOT)
        self._arenas.give_back(slots)
        return True

    def abandon(self) -> None:
        """In a forked child: write nothing more, for the slots are the parent's."""
        self._lock = threading.RLock()
        self.ended = True
        self._slots, self._at, self._limit = [], 0, 0
