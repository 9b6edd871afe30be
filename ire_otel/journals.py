"""The journals of this process's runs, and what is done with them in the background on the worker's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from ire_otel import runlog
from ire_otel.journal.settled import SettledRuns
from ire_otel.journal.spool import Spool
from ire_otel.journal.writing import Journal
from ire_otel.recording import joined
from ire_otel.recording.process import identity
from ire_otel.recovery import Recovered, Recovery
from ire_otel.runlog import RunLog

if TYPE_CHECKING:
    from ire_otel.chores import Chore
    from ire_otel.recording.run import Trace
    from ire_otel.records import SpanRecord
    from ire_otel.settings import Settings
    from ire_otel.worker import RecordExporter

logger = logging.getLogger("ire_otel")

LIVE_AFTER: Final = 3.0
"""Seconds that a run has to be open before it gets a row."""
REFRESH: Final = 5.0
"""Seconds between two looks at the rows of open runs."""
QUIET: Final = 1.0
"""Seconds between two looks at what this process recorded of other processes' runs."""
RECOVER: Final = 10.0
"""Seconds between two looks for what other processes left that died."""
SETTLE_ROWS: Final = 600.0
"""Seconds between two looks for rows of runs that nobody refreshes any more, and for what queries want prepared."""
HEARTBEAT: Final = 60.0
"""Seconds after which the row of an open run is written again though nothing has changed."""


class Owner(Protocol):
    """Whose runs they are."""

    def resource(self) -> Mapping[str, Any]:
        """Describe this process."""
        ...

    def open_runs(self) -> Collection[Trace]:
        """Give the runs that are open."""
        ...

    def forget(self, log: RunLog) -> None:
        """Learn that a run is let go of."""
        ...

    def send(self, records: Sequence[SpanRecord]) -> bool:
        """Send spans to the other exporters."""
        ...

    def start_soon(self) -> None:
        """Learn that this process takes part in another's run, so that there is something to do in the background."""
        ...


class RunJournals:
    """Makes the logs of runs, each with its journal, and looks after them."""

    def __init__(
        self,
        chosen: Settings,
        owner: Owner,
    ) -> None:
        """Nothing is opened before the first run."""
        self._settings = chosen
        self._owner = owner
        self.kept = chosen.durability != "off"
        """Whether what is not written when the process ends is written by the next."""
        self._begin()

    def begin_anew(self) -> None:
        """In a forked child: the journals are the parent's."""
        self._spool.abandon()
        self._begin()

    def _begin(self) -> None:
        self._spool = Spool(self._settings.state_dir)
        self._settled = SettledRuns(self._spool, self._settings.settle_after, self._let_go)
        self._joined: dict[str, RunLog] = {}
        self._seen: dict[str, tuple[int, int] | None] = {}
        self._rows: dict[str, tuple[int, float]] = {}
        self._recovering: Iterator[Recovered] | None = None
        self._settle_rows_at = 0.0
        self._in_arrears = False

    def log(self, run_id: str, trace_id: str) -> RunLog:
        """Give the log of a new run."""
        journal = self._spool.journal() if self.kept else None
        synced = self._settings.durability == "disk"
        return self._log(run_id, trace_id, journal, synced=synced)

    def joined(self, run_id: str, trace_id: str) -> RunLog:
        """Give the log of this process's part in a run that another began, or that was let go of here."""
        name = run_id or trace_id
        known = self._joined.get(name)
        if known is None:
            # The journal is how it reaches the other process, so there is one whatever `durability` says.
            self._spool.take_part(trace_id)
            begun = self._log(run_id, trace_id, self._spool.journal(), joined=True)
            known = self._joined.setdefault(name, begun)
            self._owner.start_soon()
        return known

    def _log(self, run_id: str, trace_id: str, journal: Journal | None, **how: bool) -> RunLog:
        return RunLog(
            run_id,
            identity.id,
            self._owner.resource(),
            trace_id=trace_id,
            journal=journal,
            successor=lambda: self.joined(run_id, trace_id),
            **how,
        )

    def settled(
        self, log: RunLog, position: tuple[int, int] | None, cleaned: Sequence[SpanRecord] | None = None
    ) -> None:
        """Learn that file and row of a run are safe, up to a position in its journal.

        cleaned: its records without what must not be kept; None where they may be kept as they are.
        """
        if cleaned is not None and isinstance(log.journal, Journal) and position is not None:
            position = self._replaced(log, log.journal, position, cleaned)
        self._settled.add(log, position)
        self._settled.expire()

    def _replaced(
        self, log: RunLog, journal: Journal, position: tuple[int, int], cleaned: Sequence[SpanRecord]
    ) -> tuple[int, int] | None:
        """Put a run's journal in place of one with secrets; None where something has come in the meantime."""
        clean = self._spool.journal()
        if clean is None:
            return position
        for line in log.cleaned(cleaned):
            clean.write(line)
        if not self._spool.release(journal, position):
            self._spool.release(clean)
            return None
        log.journal = clean
        return clean.position

    def terminated(self, signal: str) -> None:
        """Note in the journals of all open runs that a signal is about to end the process. Waits for nothing."""
        line = runlog.encode("terminated", signal, time.time_ns())
        for trace in self._owner.open_runs():
            if trace.owned and isinstance(trace.log.journal, Journal):
                trace.log.journal.squeeze_in(line)

    def close(self, *, settled: bool) -> None:
        """Let go of the spool; settled: every finished run is safe."""
        changed = self._settled.changed(joined=True) or self._settled.changed(joined=False)
        still_open = self._joined or self._owner.open_runs() or changed
        self._spool.close(settled=settled and not still_open)

    def chores(self, exporter: RecordExporter) -> Sequence[Chore]:
        """Give what is to be done on the worker's thread."""
        recovery = Recovery(self._settings, exporter, self._owner.send)
        return (
            self._prepare,
            lambda: self._refresh_rows(exporter),
            lambda: self._settle_joined(recovery),
            lambda: self._recover(recovery, exporter),
        )

    def _prepare(self) -> None:
        if self.kept:
            self._spool.prepare()
        self._settled.expire()

    def _refresh_rows(self, exporter: RecordExporter) -> float:
        """Give runs that have been open for a while a row, and bring those up to date that have changed."""
        now = time.time()
        runs = []
        for trace in self._owner.open_runs():
            if trace.owned and not trace.ended and now - trace.start_ns / 1e9 > LIVE_AFTER:
                steps = trace.log.steps()
                written, at = self._rows.get(trace.trace_id, (-1, 0.0))
                if len(steps) != written or now - at > HEARTBEAT:
                    self._rows[trace.trace_id] = len(steps), now
                    runs.append((trace.trace_id, runlog.fold(steps)))
        self._rows = {trace_id: seen for trace_id, seen in self._rows.items() if now - seen[1] <= 2 * HEARTBEAT}
        if runs:
            exporter.export_live(runs)
        return REFRESH

    def is_late(self) -> bool:
        """Tell whether this process has recorded something of a run of another process that has ended."""
        look = Recovery(self._settings, None)
        return any(look.settle(log.trace_id, self._spool.folder).run_ids for log in tuple(self._joined.values()))

    def leave(self, exporter: RecordExporter) -> None:
        """At the end of the process: see to such runs one last time."""
        self._settle_joined(Recovery(self._settings, exporter), at_once=True)

    def _settle_joined(self, recovery: Recovery, *, at_once: bool = False) -> float | None:
        """See to it that runs of other processes that have ended get what this one recorded of them."""
        for log in self._settled.changed(joined=True):
            self._joined.setdefault(log.run_id or log.trace_id, log)
        for name, log in tuple(self._joined.items()):
            position = log.position
            quiet = at_once or self._seen.get(name) == position
            self._seen[name] = position
            if (
                quiet
                and not recovery.settle(log.trace_id, self._spool.folder).left
                and self._settled.add(log, position)
            ):
                del self._joined[name], self._seen[name]
                joined.forget(log.run_id, log.trace_id)
        return QUIET if self._joined else None

    def _let_go(self, log: RunLog) -> None:
        if not log.joined:
            self._owner.forget(log)
        elif all(other.trace_id != log.trace_id for other in self._joined.values()):
            self._spool.done_with(log.trace_id)

    def _recover(self, recovery: Recovery, exporter: RecordExporter) -> float:
        """Write the runs of processes that died, one trace a call, so that nobody's run has to wait."""
        if self._recovering is None:
            self._recovering = recovery.steps(recovery.pending())
        made = next(self._recovering, None)
        if made is not None:
            for run_id in made.died:
                logger.warning("run %s is recovered: its process died", run_id)
            return 0.0
        self._recovering = None
        if time.monotonic() >= self._settle_rows_at:
            self._settle_rows_at = time.monotonic() + SETTLE_ROWS
            exporter.settle_unfinished(recovery.live_runs())
            self._in_arrears = True
        if self._in_arrears:
            self._in_arrears = False  # where it fails it waits, too
            self._in_arrears = exporter.catch_up()
        return 0.0 if self._in_arrears else RECOVER
