"""From the inbox to files and rows: on one thread, each run when it has ended, again when late spans come."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ire_otel import left_over, reader, semconv
from ire_otel.assembly.attributes import text
from ire_otel.assembly.selection import is_run_span
from ire_otel.errors import TraceFileError
from ire_otel.foreign_runs import RunMapping, holds_run, is_one, mapped
from ire_otel.records import ExportOutcome, SpanRecord
from ire_otel.server.inbox import Inbox
from ire_otel.settings import Settings
from ire_otel_exporters.grouping import TraceSchedule, finished, split_by_run

logger = logging.getLogger("ire_otel")

BATCH: Final = 32
"""Most traces that are written at once: their rows share a transaction."""
BATCH_BYTES: Final = 16 * 1024 * 1024
"""Bytes of stored spans from which no further trace is taken into a batch."""
FIRST_RETRY: Final = 1.0
"""Seconds after which a trace that could not be written is tried again; doubled each time, up to LAST_RETRY."""
LAST_RETRY: Final = 300.0
LOOK: Final = 1.0
"""Most seconds between two looks at the clock."""
ROOT_AWAITED: Final = 7 * 24 * 3600.0
"""Seconds for which an incomplete run waits to be repaired by its own span, where the inbox has room."""
FORGET_FROM: Final = 0.5
"""Share of the inbox's limit from which written runs are forgotten before `settle_after`."""


class Exporter(Protocol):
    """What runs are handed to."""

    def export_records(self, records: Sequence[SpanRecord], source: str = "runlog") -> list[ExportOutcome]:
        """Write every run that `records` hold."""
        ...

    def cleaned(self, records: Sequence[SpanRecord]) -> list[SpanRecord]:
        """Give the records without what must not be written."""
        ...

    def retry(self, *, now: bool = False) -> float | None:
        """Write rows that wait."""
        ...


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """One trace, as it is about to be written."""

    trace_id: str
    seen: int
    everything: bool
    """Whether runs are written that have not ended, too."""
    runs: dict[str, list[SpanRecord]]
    ended: set[str]
    chosen: list[str] = []
    """Runs that are to be written."""
    late: list[str] = []
    """Runs whose document stays: what came goes beside it."""


class Assembler:
    """Writes the runs of the traces that arrive. A thread of its own; `arrived` may be called by any."""

    def __init__(self, chosen: Settings, exporter: Exporter, limit: int, mapping: RunMapping | None) -> None:
        """limit: bytes that the inbox may hold. mapping: how traces of others become runs; None: they do not."""
        self._settings = chosen
        self._mapping = mapping
        self._exporter = exporter
        self._limit = limit
        self._schedule = TraceSchedule(chosen.grace_period, chosen.settle_after)
        self._seen: dict[str, int] = {}
        # Of traces of which the inbox holds all that was written: how many records each run was written from.
        self._written: dict[str, dict[str, int]] = {}
        self._incomplete: dict[str, float] = {}
        self._retries: dict[str, float] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ire-otel assembler", daemon=True)
        self.inbox = Inbox(chosen.state_dir, self.arrived, segment=max(64 * 1024, min(16 * 1024 * 1024, limit // 8)))

    def start(self) -> None:
        """Take what an earlier process left in the inbox, and begin. Raises InboxError, OSError."""
        self._written = {trace_id: {} for trace_id in self.inbox.open()}
        self._thread.start()

    def arrived(self, trace_id: str, run_ended: bool, at: float) -> None:  # noqa: FBT001 # as the inbox calls it
        """Learn of stored spans."""
        # By their age, so that neither a restart changes a deadline nor a clock that is set.
        age = max(0.0, time.time() - at)
        with self._wake:
            self._schedule.arrived(trace_id, run_ended=run_ended, at=time.monotonic() - age)
            self._incomplete.pop(trace_id, None)
            if run_ended:
                self._wake.notify()

    def ends(self, record: SpanRecord) -> bool:
        """Tell whether a run may have ended with this span: it is the run's own, or the root of others' trace."""
        is_root = self._mapping is not None and record.parent_span_id is None
        return record.end_ns is not None and (is_root or is_run_span(record))

    @property
    def alive(self) -> bool:
        """Whether it is at work."""
        return self._thread.is_alive()

    def stop(self, timeout: float) -> None:
        """Write the runs that have ended, for at most `timeout` seconds, and stop; the rest stays in the inbox."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self.inbox.close()

    # -- on its thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        looked = 0.0
        while True:
            with self._wake:
                wait = self._schedule.next_due()
                if not self._stopping and (wait is None or wait > 0):
                    self._wake.wait(min(LOOK, LOOK if wait is None else wait))
                stopping = self._stopping
                due = self._schedule.due(everything=stopping)
            try:
                self._write(due, everything=False)
                if time.monotonic() - looked >= LOOK or stopping:
                    looked = time.monotonic()
                    self._look()
                    while self._exporter.retry() == 0.0 and time.monotonic() - looked < LOOK:
                        pass  # rows that waited for their database, a batch at a time
            except Exception:
                # The receiver goes on, and looks again.
                logger.exception("the inbox could not be seen to; it is tried again")
            if stopping:
                return

    def _look(self) -> None:
        """See to traces whose root does not come, and to those that are done with."""
        with self._wake:
            silent = [
                key for key in self._schedule.silent(self._settings.incomplete_after) if key not in self._incomplete
            ]
        if not self._stopping:
            self._write(silent, everything=True)
        crowded = self.inbox.held > FORGET_FROM * self._limit
        with self._wake:
            done = self._schedule.settled(0.0 if crowded else None)
            before = time.monotonic() - (0.0 if crowded else ROOT_AWAITED)
            done += [key for key, since in self._incomplete.items() if since <= before]
        for trace_id in done:
            if crowded and self.inbox.held <= FORGET_FROM * self._limit:
                break
            self._forget(trace_id)
        self.inbox.clean()

    def _forget(self, trace_id: str) -> None:
        with self._wake:
            if self.inbox.forget(trace_id, self._seen.get(trace_id, 0)):
                self._schedule.forget(trace_id)
                for known in (self._seen, self._written, self._incomplete, self._retries):
                    known.pop(trace_id, None)

    def _write(self, trace_ids: Sequence[str], *, everything: bool) -> None:
        """Write runs of these traces: those that have ended, or `everything`."""
        batch: list[str] = []
        size = 0
        for trace_id in trace_ids:
            batch.append(trace_id)
            size += self.inbox.size(trace_id)
            if len(batch) == BATCH or size >= BATCH_BYTES:
                self._write_batch(batch, everything=everything)
                batch, size = [], 0
        if batch:
            self._write_batch(batch, everything=everything)

    def _write_batch(self, trace_ids: Sequence[str], *, everything: bool) -> None:
        try:
            self._write_together([self._read(trace_id, everything=everything) for trace_id in trace_ids])
        except Exception:
            if len(trace_ids) == 1:
                logger.exception("trace %s could not be assembled; it is tried again", trace_ids[0])
                with self._wake:
                    self._again(trace_ids)
            # One of them holds up none of the others.
            for trace_id in trace_ids if len(trace_ids) > 1 else ():
                self._write_batch([trace_id], everything=everything)

    def _read(self, trace_id: str, *, everything: bool) -> _Read:
        """Read a trace, and choose which of its runs are to be written."""
        records, seen = self.inbox.read(trace_id)
        runs = split_by_run(self._mapped(records))
        one = _Read(trace_id=trace_id, seen=seen, everything=everything, runs=runs, ended=finished(runs))
        known = self._written.get(trace_id, {})
        for run_id in sorted(runs if everything else one.ended):
            if len(runs[run_id]) != known.get(run_id):  # or nothing of it has come since
                (one.late if self._stays(one, run_id) else one.chosen).append(run_id)
        return one

    def _write_together(self, read: Sequence[_Read]) -> None:
        chosen: dict[str, list[SpanRecord]] = {}
        late: dict[str, list[SpanRecord]] = {}
        for one in read:
            for run_ids, place in ((one.chosen, chosen), (one.late, late)):
                for run_id in run_ids:
                    place.setdefault(run_id, []).extend(one.runs[run_id])
        outcomes = self._exporter.export_records([record for run in chosen.values() for record in run], source="otlp")
        for outcome in outcomes:
            self._remove_nameless(outcome)
        broken = {outcome.trace_id: chosen[outcome.trace_id] for outcome in outcomes if outcome.broken}
        unsettled = {outcome.trace_id for outcome in outcomes if not (outcome.settled or outcome.broken)}
        unsettled |= self._set_aside(late) | self._set_aside(broken)
        for one in read:
            self._note(one, failed=not unsettled.isdisjoint((*one.chosen, *one.late)))

    def _remove_nameless(self, outcome: ExportOutcome) -> None:
        """Remove what was written of a run before any of its spans named its project."""
        nameless = self._settings.trace_file(None, outcome.trace_id)
        if outcome.file_path not in (None, str(nameless)):
            with suppress(OSError):
                nameless.unlink(missing_ok=True)

    def _mapped(self, records: list[SpanRecord]) -> list[SpanRecord]:
        """Give the spans of a trace of others as those of a run."""
        if self._mapping is None or holds_run(records) or not is_one(records, self._mapping):
            return records
        return mapped(records, self._mapping)

    def _note(self, one: _Read, *, failed: bool) -> None:
        """Say to the schedule what became of a trace, unless more of it has come meanwhile."""
        with self._wake:
            self._seen[one.trace_id] = one.seen
            counts = self._written.setdefault(one.trace_id, {})
            if failed:
                self._again([one.trace_id])
                return
            counts.update({run_id: len(one.runs[run_id]) for run_id in (*one.chosen, *one.late)})
            if one.everything or one.ended:
                self._retries.pop(one.trace_id, None)
            if self.inbox.count(one.trace_id) != one.seen:
                return  # the new spans made it due once more
            # A trace without a run is of no use to anybody once nothing has come for long.
            whole = one.runs.keys() <= one.ended.union(one.late) and (bool(one.runs) or one.everything)
            self._schedule.written(one.trace_id, whole=whole)
            if one.everything and not whole:
                self._incomplete[one.trace_id] = time.monotonic()

    def _again(self, trace_ids: Sequence[str]) -> None:
        for trace_id in trace_ids:
            delay = min(2 * self._retries.get(trace_id, FIRST_RETRY / 2), LAST_RETRY)
            self._retries[trace_id] = delay
            self._schedule.again([trace_id], delay)

    def _stays(self, one: _Read, run_id: str) -> bool:
        """Tell whether a document of the run stands that was made from spans which the inbox has no longer."""
        file = self._trace_file(run_id, one.runs[run_id])
        if file is None:
            return False
        ours, aside = one.trace_id in self._written, left_over.beside(file).exists()
        if run_id in one.ended and ours and not aside:
            return False
        try:
            document = reader.decode(file.read_bytes(), str(file))
        except (OSError, TraceFileError):
            return False
        if document.run.completed_at is not None:
            return run_id not in one.ended
        return aside or (document.metadata.source == "otlp" and not ours)

    def _trace_file(self, run_id: str, records: Sequence[SpanRecord]) -> Path | None:
        """Find a run's file: in the folder of its project, or where its spans name none in any."""
        named = {text(record.attributes.get(semconv.PROJECT_NAME)) for record in records} - {None}
        if not named:
            return next(self._settings.brain_dir.glob(f"projects/*/_traces/{run_id}.json"), None)
        files = [self._settings.trace_file(project, run_id) for project in (*named, None)]
        return next((file for file in files if file.exists()), None)

    def _set_aside(self, runs: Mapping[str, Sequence[SpanRecord]]) -> set[str]:
        """Put spans that go into no document beside that of their run, or where there is none into a file of their own.

        Gives the runs for which that failed.
        """
        failed = set()
        for run_id, records in runs.items():
            file = self._trace_file(run_id, records)
            unclaimed = left_over.unclaimed(self._settings.state_dir, records[0].trace_id)
            place = unclaimed if file is None else left_over.beside(file)
            try:
                left_over.keep(place, self._exporter.cleaned(records))
                logger.warning("%d spans of run %s are in no document; they are in %s", len(records), run_id, place)
            except OSError as error:
                logger.error("%s cannot be written: %s; it is tried again", place, error.strerror)  # noqa: TRY400 # in one line
                failed.add(run_id)
        return failed
