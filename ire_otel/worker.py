"""The one thread that assembles and writes finished runs."""

from __future__ import annotations

import logging
import os
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple, Protocol

from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,  # the key that all instrumentations look for; it has no public name
    attach,
    set_value,
)

from ire_otel.processor import records_of
from ire_otel.recording.process import identity
from ire_otel.records import ExportOutcome

if TYPE_CHECKING:
    from ire_otel.records import SpanRecord
    from ire_otel.runlog import RunLog

logger = logging.getLogger("ire_otel")

FORK_WAIT = 5.0
"""Seconds that a fork waits at most for the exporter's modules to be imported."""
BATCH = 32
"""Most runs that are exported together, and so written in one database transaction."""


class RecordExporter(Protocol):
    """What the worker hands finished runs to."""

    def export_records(self, records: Sequence[SpanRecord], source: str = "runlog") -> list[ExportOutcome]:
        """Write every run that `records` hold; one outcome a run."""
        ...

    def shutdown(self) -> None:
        """Let go of files and connections."""
        ...


class _Job(NamedTuple):
    log: RunLog | None
    """None: the job of a flush, done when everything before it is."""
    done: Future[ExportOutcome | None]


class Worker:
    """Exports runs in the order in which they ended. Nothing is dropped: the queue has no bound, and is never full."""

    def __init__(self, make_exporter: Callable[[], RecordExporter]) -> None:
        """`make_exporter` is called on the worker's thread, which alone uses what it gives."""
        self._make_exporter = make_exporter
        self._begin_anew()
        before_fork = weakref.WeakMethod(self._wait_until_made)
        os.register_at_fork(before=lambda: (method := before_fork()) and method())

    def _begin_anew(self) -> None:
        """Begin with nothing: at first, and in a forked child, which inherits no threads."""
        self._process = identity.id
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._late: set[str] = set()
        self._thread: threading.Thread | None = None
        self._made = threading.Event()

    def submit(self, log: RunLog) -> Future[ExportOutcome | None]:
        """Take a finished run; the future has its outcome once file and row were tried."""
        return self._put(_Job(log, Future()))

    def late(self, log: RunLog) -> None:
        """Take a run again whose log has grown; several calls before it is its turn are one."""
        if log.run_id not in self._late:
            self._late.add(log.run_id)
            self._put(_Job(log, Future()))

    def flush(self, timeout: float | None) -> bool:
        """Wait until everything taken so far was tried, at most `timeout` seconds; True if it was."""
        if self._thread is None or self._process is not identity.id:
            return True
        done = self._put(_Job(None, Future()))
        try:
            done.result(timeout)
        except TimeoutError:
            return False
        return True

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
        return jobs.qsize() if thread.is_alive() else 0

    def _put(self, job: _Job) -> Future[ExportOutcome | None]:
        if self._process is not identity.id:
            self._begin_anew()
        with self._lock:
            self._jobs.put(job)
            if self._thread is None:
                # A daemon, because the interpreter joins other threads before atexit could tell them to stop.
                self._thread = threading.Thread(
                    target=self._work, args=(self._jobs,), name="ire-otel-worker", daemon=True
                )
                self._thread.start()
        return job.done

    def _wait_until_made(self) -> None:
        """Before a fork: a child would inherit the locks of modules that are being imported, and wait for ever."""
        if self._thread is not None and self._process is identity.id:
            self._made.wait(FORK_WAIT)

    def _work(self, queued: queue.SimpleQueue[_Job | None]) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))
        exporter = None
        stopping = False
        while not stopping:
            jobs = _next_jobs(queued)
            stopping = None in jobs
            try:
                exporter = exporter or self._make_exporter()
                self._made.set()
                self._export(exporter, [job for job in jobs if job is not None])
            except Exception as error:
                # Tracing must never break the run it watches.
                logger.exception("runs could not be exported")
                _settle([job for job in jobs if job is not None], error)
        if exporter is not None:
            exporter.shutdown()

    def _export(self, exporter: RecordExporter, jobs: Sequence[_Job]) -> None:
        logs = {job.log.run_id: job.log for job in jobs if job.log is not None}
        self._late.difference_update(logs)
        records = [record for log in logs.values() for record in records_of(log)]
        outcomes = {outcome.trace_id: outcome for outcome in exporter.export_records(records)} if logs else {}
        for job in jobs:
            job.done.set_result(outcomes.get(job.log.run_id) if job.log is not None else None)


def _next_jobs(queued: queue.SimpleQueue[_Job | None]) -> list[_Job | None]:
    """Take what is waiting: at least one job, at most a batch, none after the one that says stop."""
    jobs = [queued.get()]
    while len(jobs) < BATCH and jobs[-1] is not None:
        try:
            jobs.append(queued.get_nowait())
        except queue.Empty:
            break
    return jobs


def _settle(jobs: Sequence[_Job], error: Exception) -> None:
    """Tell whoever waits for a run that it could not be exported."""
    reason = f"{type(error).__name__}: {error}"
    for job in jobs:
        if not job.done.done():
            run_id = None if job.log is None else job.log.run_id
            failed = run_id and ExportOutcome(trace_id=run_id, file_error=reason, row_error=reason)
            job.done.set_result(failed or None)
