"""Finished runs that are safe in file and row, kept for late spans: in memory, then in the journal, then no longer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

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

    def add(self, log: RunLog) -> None:
        """Take a run whose file and row are safe now."""
        self._remove(log.run_id)
        if isinstance(log.journal, Journal):
            log.journal.write(runlog.encode("sealed", time.time_ns()))
        kept = _Kept(log, log.size, time.monotonic())
        if log.in_memory:
            self._in_memory[log.run_id] = kept
            self._bytes["memory"] += kept.size
        if isinstance(log.journal, Journal):
            self._in_journal[log.run_id] = _Kept(log, log.journal.size, kept.since)
            self._bytes["journal"] += log.journal.size

    def expire(self) -> None:
        """Let go of what is too old or too much."""
        oldest = time.monotonic() - self._settle_after
        while self._in_memory and (self._bytes["memory"] > IN_MEMORY or _first(self._in_memory).since < oldest):
            run_id, kept = self._in_memory.popitem(last=False)
            self._bytes["memory"] -= kept.size
            if run_id not in self._in_journal or not kept.log.spill():
                self._let_go(kept.log)
        for _ in range(len(self._in_journal)):
            if self._bytes["journal"] <= IN_JOURNAL and _first(self._in_journal).since >= oldest:
                return
            run_id, kept = self._in_journal.popitem(last=False)
            if spool.participants(self._spool.state_dir, kept.log.trace_id):
                self._in_journal[run_id] = kept  # another process is not done with it
                continue
            self._bytes["journal"] -= kept.size
            self._let_go(kept.log)

    def _let_go(self, log: RunLog) -> None:
        self._remove(log.run_id)
        self._forget(log)

    def _remove(self, run_id: str) -> None:
        for place, kept in (("memory", self._in_memory), ("journal", self._in_journal)):
            found = kept.pop(run_id, None)
            if found is not None:
                self._bytes[place] -= found.size


def _first(kept: OrderedDict[str, _Kept]) -> _Kept:
    return next(iter(kept.values()))
