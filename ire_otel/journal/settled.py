"""Finished runs that are safe in file and row, kept for late spans: in memory, then in the journal, then no longer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import msgspec

from ire_otel import runlog
from ire_otel.journal import spool
from ire_otel.journal.writing import Journal

if TYPE_CHECKING:
    from ire_otel.journal.spool import Spool
    from ire_otel.runlog import RunLog

IN_MEMORY: Final = 16 * 1024 * 1024
"""Most bytes of such runs that are held in memory."""
IN_JOURNAL: Final = 64 * 1024 * 1024
"""Most bytes of journal that they take up; the oldest go first."""


class _Kept(msgspec.Struct):
    log: RunLog
    size: int
    since: float
    """By the monotonic clock."""
    position: tuple[int, int] | None = None
    """How far its journal was sealed; None for what is held in memory."""


class _Queue(OrderedDict[int, _Kept]):
    """Kept runs, the oldest first, and how many bytes they take up."""

    def __init__(self, limit: int, settle_after: float) -> None:
        super().__init__()
        self.bytes = 0
        self._limit = limit
        self._settle_after = settle_after

    def put(self, kept: _Kept) -> None:
        self[id(kept.log)] = kept
        self.bytes += kept.size

    def take(self, log: RunLog) -> _Kept | None:
        kept = self.pop(id(log), None)
        self.bytes -= 0 if kept is None else kept.size
        return kept

    def overdue(self) -> _Kept | None:
        """Give the oldest, if it is too old or they are too many."""
        oldest = next(iter(self.values()), None)
        if oldest is None or (self.bytes <= self._limit and time.monotonic() - oldest.since <= self._settle_after):
            return None
        return oldest


class SettledRuns:
    """The settled runs of one process, and its settled parts of other processes' runs. Used on the worker's thread."""

    def __init__(self, own: Spool, settle_after: float, forget: Callable[[RunLog], None]) -> None:
        """settle_after: seconds for which late spans are waited for. forget: called with each run that is let go."""
        self._spool = own
        self._forget = forget
        self._in_memory = _Queue(IN_MEMORY, settle_after)
        self._in_journal = _Queue(IN_JOURNAL, settle_after)

    def add(self, log: RunLog, position: tuple[int, int] | None) -> bool:
        """Take a run whose file and row are safe now, up to a position in its journal.

        False where something has come since: the run has to be brought here once more.
        """
        self._in_memory.take(log)
        self._in_journal.take(log)
        journal = log.journal if isinstance(log.journal, Journal) else None
        if journal is not None and not (position and journal.seal(runlog.encode("sealed", time.time_ns()), position)):
            return False
        if log.in_memory:
            self._in_memory.put(_Kept(log, log.size, time.monotonic()))
        if journal is not None:
            self._in_journal.put(_Kept(log, journal.size, time.monotonic(), journal.position))
        return True

    def changed(self, *, joined: bool) -> list[RunLog]:
        """Take away, and give, the runs whose journals have grown since they came here.

        joined: those of other processes; else this one's.
        """
        kept = self._in_journal.values()
        grown = [one.log for one in kept if one.log.joined is joined and one.log.position != one.position]
        for log in grown:
            self._in_memory.take(log)
            self._in_journal.take(log)
        return grown

    def expire(self) -> None:
        """Let go of what is too old or too much."""
        while (kept := self._in_memory.overdue()) is not None:
            self._in_memory.take(kept.log)
            if id(kept.log) not in self._in_journal:
                self._forget(kept.log)
            else:
                kept.log.spill()
        for _ in range(len(self._in_journal)):
            kept = self._in_journal.overdue()
            if kept is None:
                return
            self._in_journal.take(kept.log)
            if not kept.log.joined and spool.participants(self._spool.state_dir, kept.log.trace_id):
                self._in_journal.put(kept)  # it is needed for as long as the parts of other processes are kept
            elif self._spool.release(cast("Journal", kept.log.journal), kept.position):
                self._in_memory.take(kept.log)
                self._forget(kept.log)
