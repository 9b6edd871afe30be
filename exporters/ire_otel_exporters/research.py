"""ResearchExporter: one trace file and one metadata row for every run."""

from __future__ import annotations

import logging
import operator
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ire_otel import assembly, processor, reader, redaction, report, settings
from ire_otel.calibration.watch import FlagWatch
from ire_otel.errors import RowRefusedError
from ire_otel.records import ExportOutcome, SpanRecord
from ire_otel.row import Row, row
from ire_otel.sdk_spans import from_readable
from ire_otel.steps import Step, apply
from ire_otel.turns import give_way
from ire_otel_exporters import trace_file
from ire_otel_exporters.grouping import TraceBuffer, split_by_run
from ire_otel_exporters.rows import SAVED, RowWriter

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from ire_otel.model import TraceDocument

logger = logging.getLogger("ire_otel")

RETRY: Final = 5.0
"""Seconds after which what RunProcessor does not see to, and could not be written, is tried again."""


class ResearchExporter(SpanExporter):
    """Writes runs. RunProcessor hands it whole runs; under any other span processor it collects their spans itself."""

    def __init__(self, settings: settings.Settings | None = None, *, steps: Sequence[Step] = ()) -> None:
        """Make one by hand, or by name: `OTEL_TRACES_EXPORTER=ire`. Nothing is opened before the first run."""
        self._settings = settings or _load_settings()
        self._steps = (*steps, *redaction.steps(self._settings))
        self._rows = RowWriter(self._settings)
        self._flags = FlagWatch(self._settings)
        self._buffer = TraceBuffer(self._settings.grace_period, self._settings.settle_after)
        self._lock = threading.Lock()
        self._made_at = processor.attachments()
        self._timer: threading.Timer | None = None

    # -- as any span exporter -----------------------------------------------------------------------------------------

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Collect spans; a run is written when its span is in, plus a grace period for late children."""
        if processor.in_charge(self._made_at):
            return SpanExportResult.SUCCESS  # RunProcessor has these runs, and more of them
        try:
            with self._lock:
                self._buffer.add(from_readable(span) for span in spans)
            return self._write_due()
        except Exception:
            # Tracing must never break the run it watches.
            logger.exception("%d spans could not be taken", len(spans))
            return SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 # a write is not cut short
        """Write everything collected so far, runs without their own span included."""
        return self._write_due(everything=True) is SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Write everything collected so far and let go of the database."""
        self.force_flush()
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
        self._flags.close()
        self._rows.close()

    def _write_due(self, *, everything: bool = False) -> SpanExportResult:
        with self._lock:
            records = self._buffer.due(everything=everything)
            outcomes = self.export_records(records, source="sdk")
            if not all(outcome.settled for outcome in outcomes):
                self._buffer.again(records, RETRY)
            self._wake_when_due(self.retry())
        failed = any(outcome.file_error or outcome.row_error for outcome in outcomes)
        return SpanExportResult.FAILURE if failed else SpanExportResult.SUCCESS

    def _wake_when_due(self, rows_due: float | None) -> None:
        """Set a timer: a batch processor calls only when there are new spans, so the last run would wait for ever."""
        wait = min((due for due in (self._buffer.next_due(), rows_due) if due is not None), default=None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wait is not None:
            self._timer = threading.Timer(wait, self._write_due)
            self._timer.daemon = True
            self._timer.start()

    # -- with whole runs ----------------------------------------------------------------------------------------------

    def export_records(self, records: Sequence[SpanRecord], source: str = "runlog") -> list[ExportOutcome]:
        """Write every run that `records` hold: files first, then all rows in one transaction. Never raises.

        source: where the records come from (`metadata.source`): runlog, sdk or otlp.
        """
        written = self._write_files(split_by_run(records), source)
        rows = {made.run.trace_id: made for _, made in written if made is not None}
        results = self._rows.save(list(rows.values()))
        self._flags.saved(made.run for made in rows.values() if results[made.run.trace_id].get("row") == SAVED)
        outcomes = [msgspec.structs.replace(outcome, **results.get(outcome.trace_id, {})) for outcome, _ in written]
        return [
            msgspec.structs.replace(outcome, settled=outcome.settled and outcome.file_path is not None)
            for outcome in outcomes
        ]

    def cleaned(self, records: Sequence[SpanRecord]) -> list[SpanRecord]:
        """Give the records without what must not be written."""
        return apply(self._steps, records)

    def export_live(self, runs: Sequence[tuple[str, Sequence[SpanRecord]]]) -> None:
        """Write the rows of runs that go on, as far as they have got. `runs`: ids and spans, events left out."""
        rows = []
        for run_id, records in runs:
            document = assembly.assemble(apply(self._steps, records), run_id=run_id, live=True)
            with suppress(RowRefusedError):  # said when the run has ended
                rows.append(self._row(document, None))
        self._rows.save_live(rows)

    def retry(self, *, now: bool = False) -> float | None:
        """Write some rows that wait for their database; gives the seconds until the next time, None if none waits."""
        return self._rows.retry(now=now)

    @property
    def why_rows_wait(self) -> str:
        """What the database said when it failed last."""
        return self._rows.why_down

    def settle_unfinished(self, live: Collection[str]) -> int:
        """Say of runs whose rows nobody has refreshed for long, and which are not `live`, that they were cut short."""
        return self._rows.settle_unfinished(live)

    def catch_up(self) -> bool:
        """Sum up a day, and take in some words for the search; gives whether there is more."""
        return self._rows.catch_up()

    def _write_files(self, runs: Mapping[str, Sequence[SpanRecord]], source: str) -> list[_Written]:
        """Write the runs' files, each while the next run is assembled; gives what became of them."""
        written: list[_Written] = []
        behind: list[_Begun] = []
        with ThreadPoolExecutor(1, "ire-otel-files") as pool:
            beside = pool if len(runs) > 1 else None
            for run_id, records in runs.items():
                begun = self._begin(run_id, records, source, beside)
                written += [self._finish(one, source) for one in behind]
                behind = [begun]
            return [*written, *(self._finish(one, source) for one in behind)]

    def _begin(self, run_id: str, records: Sequence[SpanRecord], source: str, beside: Executor | None) -> _Begun:
        """Assemble a run, make its row where it can have one, and begin to write its file."""
        try:
            cleaned = apply(self._steps, records)
            give_way()
            document = assembly.assemble(cleaned, run_id=run_id, source=source)
        except Exception as error:
            logger.exception("run %s could not be assembled", run_id)
            broken = ExportOutcome(trace_id=run_id, file_error=str(error), row_error=str(error), broken=True)
            return _Begun(broken)
        give_way()
        path = self._settings.trace_file(document.project_name, document.trace_id)
        changed = len(cleaned) != len(records) or any(map(operator.is_not, cleaned, records))
        outcome = ExportOutcome(trace_id=run_id, file_path=str(path), cleaned=changed)
        made = None
        try:
            made = self._row(document, self._settings.location(path))
            give_way()
            document = _with_notes(document, made.notes)
        except RowRefusedError as refusal:
            outcome = msgspec.structs.replace(outcome, **self._rows.refused(run_id, refusal))
        data, synced = assembly.encode(document), self._settings.durability == "disk"
        write = partial(trace_file.write, path, data, document.metadata.records, synced=synced)
        return _Begun(outcome, made, _File(path, path.exists(), document, _begun(write, beside)))

    def _finish(self, begun: _Begun, source: str) -> _Written:
        """Wait for a run's file; gives what became of the run, and its row."""
        outcome, made, file = begun
        if file is None:
            return outcome, None
        try:
            newest = file.writing.result()
        except OSError as error:
            reason = f"cannot write {file.path}: {error.strerror}"
            logger.error("%s; the run's row says so", reason)  # noqa: TRY400 # the cause is the system's, in one line
            outcome = msgspec.structs.replace(outcome, file_path=None, file_error=reason)
            return outcome, None if made is None else self._row(file.document, None)
        if newest:
            # What came over the network must not choose which file of this machine changes.
            if self._settings.link_reports and source != "otlp":
                _link(file.document, again=file.again)
        elif made is not None:  # one made from more records stands there
            richer = reader.decode(file.path.read_bytes(), str(file.path))
            made = self._row(richer, made.run.trace_file_path)
        return outcome, made

    def _row(self, document: TraceDocument, location: str | None) -> Row:
        return row(document, location, self._settings.jaeger_link(document.metadata.otel_trace_id))


class _File(NamedTuple):
    """A trace file that is being written."""

    path: Path
    again: bool
    """Whether there was one already."""
    document: TraceDocument
    writing: Future[bool]
    """False where the one that was there is newer."""


class _Begun(NamedTuple):
    """A run on its way."""

    outcome: ExportOutcome
    row: Row | None = None
    """None where it can have none."""
    file: _File | None = None
    """None where it could not be assembled."""


_Written = tuple[ExportOutcome, Row | None]


def _begun(write: Callable[[], bool], beside: Executor | None) -> Future[bool]:
    """Begin to write, on another thread where there is one."""
    if beside is not None:
        with suppress(RuntimeError):  # the interpreter exits, and takes no more work for threads
            return beside.submit(write)
    done: Future[bool] = Future()
    try:
        done.set_result(write())
    except OSError as error:
        done.set_exception(error)
    return done


def _load_settings() -> settings.Settings:
    chosen, problems = settings.load_leniently()
    for problem in problems:
        logger.error("%s; ire-otel goes on without it", problem)
    return chosen


def _link(document: TraceDocument, *, again: bool) -> None:
    try:
        report.link_output(document, again=again)
    except report.ReportLinkError as error:
        logger.error("%s; its trace file is written", error)  # noqa: TRY400 # the cause is named, in one line
    except Exception:
        # Neither may a report's content keep the run's row from being written.
        logger.exception("the report of run %s could not be linked", document.trace_id)


def _with_notes(document: TraceDocument, notes: Sequence[str]) -> TraceDocument:
    if not notes:
        return document
    known = document.metadata.warnings  # a document that came back from OTLP has said them already
    warnings = [*known, *(note for note in notes if note not in known)]
    metadata = msgspec.structs.replace(document.metadata, warnings=warnings)
    return msgspec.structs.replace(document, metadata=metadata)
