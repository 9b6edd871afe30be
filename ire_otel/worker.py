"""The one thread that assembles and writes finished runs, again and again until they are safe."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,  # the key that all instrumentations look for; it has no public name
    attach,
    set_value,
)

from ire_otel.chores import Chore, Chores
from ire_otel.recording.process import identity
from ire_otel.records import ExportOutcome
from ire_otel.recovery import belonging, shared_records
from ire_otel.turns import give_way

if TYPE_CHECKING:
    from ire_otel.records import SpanRecord
    from ire_otel.runlog import RunLog

logger = logging.getLogger("ire_otel")

BATCH: Final = 32
"""Most runs that are exported together, and so written in one database transaction."""
IN_MEMORY: Final = 4 * BATCH
"""Finished runs that may wait in memory; the entries of further ones are read back from the journal."""
FIRST_RETRY: Final = 0.5
"""Seconds until a run that could not be written is tried again; doubled each time, up to LAST_RETRY."""
LAST_RETRY: Final = 60.0


class RecordExporter(Protocol):
    """What the worker hands finished runs to."""

    def export_records(self, records: Sequence[SpanRecord], source: str = "runlog") -> list[ExportOutcome]:
        """Write every run that `records` hold; one outcome a run."""
        ...

    def cleaned(self, records: Sequence[SpanRecord]) -> list[SpanRecord]:
        """Give the records without what must not be written."""
        ...

    def export_live(self, runs: Sequence[tuple[str, Sequence[SpanRecord]]]) -> None:
        """Write the rows of runs that go on: their ids and spans, events left out."""
        ...

    def retry(self, *, now: bool = False) -> float | None:
        """Write some rows that wait for their database, if it is time for that, or `now`.

        Gives the seconds until the next time, None if no row waits.
        """
        ...

    def settle_unfinished(self, live: Collection[str]) -> int:
        """Say of runs whose rows nobody has refreshed for long, and which are not `live`, that they were cut short."""
        ...

    def catch_up(self) -> bool:
        """Prepare a piece of what queries want prepared; gives whether there is more."""
        ...

    def shutdown(self) -> None:
        """Let go of files and connections."""
        ...


class Watch(Protocol):
    """What the worker tells of a run that it tried to write."""

    def settled(
        self, log: RunLog, position: tuple[int, int] | None, cleaned: Sequence[SpanRecord] | None = None
    ) -> None:
        """Learn that file and row of a run are safe, up to a position in its journal.

        cleaned: its records without what must not be kept; None where they may be kept as they are.
        """
        ...

    def leave(self, exporter: RecordExporter) -> None:
        """Learn that the worker stops, after everything that it was given."""
        ...

    def chores(self, exporter: RecordExporter) -> Sequence[Chore]:
        """Give what is to be done on the worker's thread besides."""
        ...


class _Job(NamedTuple):
    log: RunLog | None
    """None: the job of a flush, done when everything before it is."""
    done: Future[ExportOutcome | None]


class Worker:
    """Exports runs in the order in which they ended. Nothing is dropped: the queue has no bound, and is never full."""

    def __init__(self, make_exporter: Callable[[], RecordExporter], watch: Watch, state_dir: Path) -> None:
        """`make_exporter` is called on the worker's thread, which alone uses what it gives."""
        self._make_exporter = make_exporter
        self._watch = watch
        self._state_dir = state_dir
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Begin with nothing: at first, and in a forked child, which inherits no threads."""
        self._process = identity.id
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._late: set[str] = set()
        self._thread: threading.Thread | None = None
        self._made = threading.Event()
        self._failed: dict[str, RunLog] = {}
        self._rows_wait = False
        self._at_work = 0
        self._delay = FIRST_RETRY
        self._retry_at = 0.0

    def start(self) -> None:
        """Start the thread, so that what has to be done in the background begins before the first run has ended."""
        self._put(_Job(None, Future()))

    def submit(self, log: RunLog) -> Future[ExportOutcome | None]:
        """Take a finished run; the future has its outcome once file and row were tried."""
        if self._jobs.qsize() > IN_MEMORY:
            log.spill()
        return self._put(_Job(log, Future()))

    def late(self, log: RunLog) -> None:
        """Take a run again whose log has grown; several calls before it is its turn are one."""
        if log.run_id not in self._late:
            self._late.add(log.run_id)
            self._put(_Job(log, Future()))

    def flush(self, timeout: float | None) -> bool:
        """Wait until everything taken so far was tried, at most `timeout` seconds; True if all of it is safe."""
        if self._thread is None or self._process is not identity.id:
            return True
        done = self._put(_Job(None, Future()))
        try:
            done.result(timeout)
        except TimeoutError:
            return False
        return not self._failed and not self._rows_wait

    def stop(self, timeout: float | None) -> int:
        """Work off the queue and end the thread, waiting at most `timeout` seconds; gives how many runs are left over.

        A run that comes later gets a thread of its own.
        """
        if self._process is not identity.id:
            return 0
        with self._lock:
            thread, jobs = self._thread, self._jobs
            self._thread, self._jobs = None, queue.SimpleQueue()
        if thread is None:
            return 0
        jobs.put(None)
        thread.join(timeout)
        return len(self._failed) + (self._at_work + jobs.qsize() if thread.is_alive() else 0)

    def _put(self, job: _Job) -> Future[ExportOutcome | None]:
        if self._process is not identity.id:
            self._begin_anew()
        with self._lock:
            self._jobs.put(job)
            if self._thread is None:
                # A daemon, because the interpreter joins other threads before atexit could tell them to stop.
                thread = threading.Thread(target=self._work, args=(self._jobs,), name="ire-otel-worker", daemon=True)
                self._thread = thread  # before it runs, so that a fork waits for it
                try:
                    thread.start()
                except RuntimeError:  # the interpreter exits; the journal has the run
                    self._thread = None
        return job.done

    def before_fork(self, timeout: float) -> None:
        """Wait, at most `timeout` seconds, until the exporter's modules are imported."""
        if self._thread is not None and self._process is identity.id:
            self._made.wait(timeout)

    def _work(self, queued: queue.SimpleQueue[_Job | None]) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))
        try:
            exporter = self._make_exporter()
        except Exception as error:
            # Tracing must never break the run it watches.
            logger.exception("runs cannot be exported; their journals stay")
            self._made.set()
            self._refuse(queued, error)
            return
        self._made.set()
        chores = Chores([lambda: self._retry(exporter), exporter.retry, *self._watch.chores(exporter)])
        stopping = False
        while not stopping:
            jobs = _next_jobs(queued, chores.wait())
            stopping = None in jobs
            self._at_work = len(jobs)
            self._export(exporter, [job for job in jobs if job is not None])
            self._at_work = 0
            if jobs:
                chores.wake()
            if not stopping:
                chores.do()
        try:
            self._retry_at = 0.0
            self._retry(exporter)
            self._watch.leave(exporter)
            exporter.shutdown()
        except Exception:
            # What is not safe has its journal.
            logger.exception("ire-otel could not finish its work")

    def _refuse(self, queued: queue.SimpleQueue[_Job | None], error: Exception) -> None:
        while (job := queued.get()) is not None:
            if job.log is not None:
                self._failed[job.log.run_id] = job.log
            _settle([job], error)

    def _export(self, exporter: RecordExporter, jobs: Sequence[_Job]) -> None:
        logs = {job.log.run_id: job.log for job in jobs if job.log is not None}
        try:
            outcomes = self._written(exporter, logs) if logs else {}
        except Exception as error:
            # Tracing must never break the run it watches.
            logger.exception("runs could not be exported; they are tried again")
            self._failed.update(logs)
            _settle(jobs, error)
            return
        if any(job.log is None for job in jobs):
            while (again := exporter.retry(now=True)) == 0.0:
                pass
            self._rows_wait = again is not None
        for job in jobs:
            job.done.set_result(outcomes.get(job.log.run_id) if job.log is not None else None)

    def _written(self, exporter: RecordExporter, logs: dict[str, RunLog]) -> dict[str, ExportOutcome]:
        """Write runs, with what other processes recorded of them; those that are not safe yet are remembered."""
        self._late.difference_update(logs)
        positions = {run_id: log.position for run_id, log in logs.items()}
        records: list[SpanRecord] = []
        for log in logs.values():
            records += log.records()
            give_way()
        shared = shared_records(self._state_dir, {log.trace_id for log in logs.values()})
        if shared:
            records = belonging([*records, *shared], logs)
        outcomes = {outcome.trace_id: outcome for outcome in exporter.export_records(records)}
        for run_id, log in logs.items():
            if run_id in outcomes and outcomes[run_id].settled:
                self._failed.pop(run_id, None)
                cleaned = exporter.cleaned(log.records()) if outcomes[run_id].cleaned else None
                self._watch.settled(log, positions[run_id], cleaned)
            else:
                log.spill()
                self._failed[run_id] = log
        return outcomes

    def _retry(self, exporter: RecordExporter) -> float | None:
        """Try again what could not be written, a batch at a time, later and later while nothing succeeds."""
        if not self._failed:
            self._delay = FIRST_RETRY
            return None
        if time.monotonic() < self._retry_at:
            return self._retry_at - time.monotonic()
        logs = dict(list(self._failed.items())[:BATCH])
        before = len(self._failed)
        self._export(exporter, [_Job(log, Future()) for log in logs.values()])
        if len(self._failed) < before:
            self._delay = FIRST_RETRY
            return 0.0
        self._delay = min(2 * self._delay, LAST_RETRY)
        self._retry_at = time.monotonic() + self._delay
        return self._delay


def _next_jobs(queued: queue.SimpleQueue[_Job | None], wait: float | None) -> list[_Job | None]:
    """Take what is waiting, at most a batch, none after the one that says stop; empty after `wait` seconds."""
    jobs: list[_Job | None] = []
    try:
        jobs.append(queued.get(timeout=wait))
        while len(jobs) < BATCH and jobs[-1] is not None:
            jobs.append(queued.get_nowait())
    except queue.Empty:
        pass
    return jobs


def _settle(jobs: Sequence[_Job], error: Exception) -> None:
    """Tell whoever waits for a run that it could not be exported."""
    reason = f"{type(error).__name__}: {error}"
    for job in jobs:
        if not job.done.done():
            run_id = None if job.log is None else job.log.run_id
            failed = run_id and ExportOutcome(trace_id=run_id, file_error=reason, row_error=reason)
            job.done.set_result(failed or None)
