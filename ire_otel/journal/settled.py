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
    position: tuple[int, int] | None
    """How far its journal was sealed; None for what is held in memory."""


class SettledRuns:
    """The settled runs of one process. Used on the worker's thread only."""

    def __init__(self, own: Spool, settle_after: float, forget: Callable[[RunLog], None]) -> None:
        """settle_after: seconds for which late spans are waited for. forget: called with each run that is let go."""
        self._spool = own
        self._settle_after = settle_after
        self._forget = forget
        self._in_memory: OrderedDict[str, _Kept] = OrderedDict()
        self._in_journal: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = {"memory": 0, "journal": 0}

    def add(self, log: RunLog, position: tuple[int, int] | None) -> None:
        """Take a run whose file and row are safe now, up to a position in its journal.

        Where something has come since, the run is on its way here once more.
        """
        self._remove(log.run_id)
        journal = log.journal if isinstance(log.journal, Journal) else None
        if journal is not None and not (position and journal.seal(runlog.encode("sealed", time.time_ns()), position)):
            return
        now = time.monotonic()
        if log.in_memory:
            self._in_memory[log.run_id] = _Kept(log, log.size, now, None)
            self._bytes["memory"] += self._in_memory[log.run_id].size
        if journal is not None:
            self._in_journal[log.run_id] = _Kept(log, journal.size, now, journal.position)
            self._bytes["journal"] += self._in_journal[log.run_id].size

    def expire(self) -> None:
        """Let go of what is too old or too much."""
        oldest = time.monotonic() - self._settle_after
        while self._in_memory and (self._bytes["memory"] > IN_MEMORY or _first(self._in_memory).since < oldest):
            run_id, kept = self._in_memory.popitem(last=False)
            self._bytes["memory"] -= kept.size
            if run_id not in self._in_journal or not kept.log.spill():
                self._let_go(kept)
        for _ in range(len(self._in_journal)):
            if self._bytes["journal"] <= IN_JOURNAL and _first(self._in_journal).since >= oldest:
                return
            run_id, kept = self._in_journal.popitem(last=False)
            if spool.participants(self._spool.state_dir, kept.log.trace_id):
                self._in_journal[run_id] = kept  # another process is not done with it
                continue
            self._bytes["journal"] -= kept.size
            self._let_go(kept)

    def _let_go(self, kept: _Kept) -> None:
        """Forget a run, unless something has come just now: it is on its way here once more."""
        self._remove(kept.log.run_id)
        if kept.position is None or self._spool.release(cast("Journal", kept.log.journal), kept.position):
            self._forget(kept.log)

    def _remove(self, run_id: str) -> None:
        for place, kept in (("memory", self._in_memory), ("journal", self._in_journal)):
            found = kept.pop(run_id, None)
            if found is not None:
                self._bytes[place] -= found.size


def _first(kept: OrderedDict[str, _Kept]) -> _Kept:
    return next(iter(kept.values()))
