"""Recovery: what journals hold becomes files and rows, each run once, however often and by however many it is tried.

The unit is the OpenTelemetry trace: its runs are assembled from the journals of all processes that took part in it.
"""

from __future__ import annotations

import logging
import operator
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, Self

import msgspec

from ire_otel import left_over, runlog, semconv
from ire_otel.assembly.selection import is_run_span, key, membership
from ire_otel.errors import JournalVersionError
from ire_otel.journal import spool
from ire_otel.journal.reading import FoundLog, JournalFolder, Summary, cut_off_unused
from ire_otel.journal.rewriting import rewrite
from ire_otel.locations import is_run_id
from ire_otel.records import ExportOutcome, SpanRecord
from ire_otel.settings import Settings

logger = logging.getLogger("ire_otel")


class Exporter(Protocol):
    """What recovered runs are handed to."""

    def export_records(self, records: Sequence[SpanRecord], source: str = "runlog") -> list[ExportOutcome]:
        """Write every run that `records` hold; one outcome a run."""
        ...

    def cleaned(self, records: Sequence[SpanRecord]) -> list[SpanRecord]:
        """Give the records without what must not be written."""
        ...


Send = Callable[[Sequence[SpanRecord]], bool]
"""Takes spans to other exporters; False where that has to be tried again."""


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one OpenTelemetry trace with journals of processes that died."""

    otel_trace_id: str
    processes: list[str]
    """`<pid>-<id>` of those."""
    runs: list[ExportOutcome] = []
    """Runs that were written, or could not be. Empty in a dry run."""
    run_ids: list[str] = []
    """Runs that are, or would be, written."""
    died: list[str] = []
    """Those whose own process died before they were safe; the others only had other processes taking part."""
    decisions: int = 0
    """Decisions that were found in the journals."""
    damaged: int = 0
    """Lines that could not be read, left out."""
    left: bool = False
    """Whether something has to be tried again."""
    problem: str | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the journals hold of one OpenTelemetry trace."""

    trace_id: str
    logs: list[FoundLog]
    dead: frozenset[Path]
    """Folders of processes that died."""

    @classmethod
    def of(cls, trace_id: str, folders: Iterable[Path], claimed: JournalFolder | None) -> Self:
        """Read what these folders hold of a trace. claimed: the one of a process that died, held by us, besides."""
        logs = [log for folder in folders for log in _logs(folder, trace_id)]
        dead = {folder for folder in folders if not spool.is_live(folder)}
        if claimed is not None:
            logs += claimed.logs(trace_id)
            dead.add(claimed.folder)
        return cls(trace_id=trace_id, logs=logs, dead=frozenset(dead))

    def records(self) -> list[SpanRecord]:
        """Give all spans; a run whose process died says so."""
        return [
            _as_found(record, log) if log.folder in self.dead else record
            for log in self.logs
            for record in log.records()
        ]

    def finished(self, records: Iterable[SpanRecord]) -> set[str]:
        """Give the runs that will not go on: ended, or their process died."""
        runs = [record for record in records if is_run_span(record)]
        return {
            str(run.attributes[semconv.RUN_ID])
            for run in runs
            if run.end_ns is not None or semconv.RUN_RECOVERED in run.attributes
        }

    def silent_for(self) -> float:
        """Give the seconds since anybody recorded anything."""
        return time.time() - max(map(_last_ns, self.logs), default=0) / 1e9

    def cut_off(self, own: Path) -> list[SpanRecord]:
        """Give the spans that a process never ended because it died, marked, and ended when it was last heard of.

        Others that look at the trace have those that ended, and would find them without their parents. Runs of which
        a sampler of the application may have kept the spans from others are left out.
        """
        return [
            _ended(_as_found(record, log), _last_ns(log))
            for log in self.logs
            if log.folder == own and not log.sealed
            for records in [log.records()]
            if not any(semconv.RUN_FOREIGN_SPANS in record.attributes for record in records)
            for record in records
            if record.end_ns is None
        ]


_TIMED: Final = (runlog.Start, runlog.Event, runlog.End)


def belonging(records: Sequence[SpanRecord], run_ids: Iterable[str]) -> list[SpanRecord]:
    """Give those of `records` that belong to one of the runs: by their mark, else by their ancestors'."""
    wanted = set(run_ids)
    run_of = membership({key(record): record for record in records})
    return [record for record in records if run_of[key(record)] in wanted]


def shared_records(state_dir: Path, trace_ids: Iterable[str]) -> list[SpanRecord]:
    """Give what processes have recorded so far in traces that another one began."""
    return [
        record
        for trace_id in spool.shared(state_dir).intersection(trace_ids)
        for folder in spool.participants(state_dir, trace_id)
        for log in _logs(folder, trace_id)
        for record in log.records()
    ]


def orphans(state_dir: Path) -> list[Path]:
    """Give the folders of processes that died and left something that is not in file and row."""
    return [
        folder
        for folder in spool.processes(state_dir)
        if spool.settled_for(folder) is None and not spool.is_live(folder)
    ]


class Recovery:
    """Brings the journals of processes that died into files and rows."""

    def __init__(self, chosen: Settings, exporter: Exporter | None, send: Send | None = None) -> None:
        """exporter: None for a dry run. send: takes to other exporters the spans that nobody will end any more."""
        self._settings = chosen
        self._exporter = exporter
        self._send = send
        self.problems: list[str] = []
        """Journals that could not be read."""

    def pending(self) -> dict[Path, list[str]]:
        """Give the traces that processes left which died, by their folders."""
        unsettled = {folder: self._unsettled(folder) for folder in orphans(self._settings.state_dir)}
        # What could not be read is left out: nothing would be found in it, and it would count as done.
        return {folder: trace_ids for folder, trace_ids in unsettled.items() if trace_ids is not None}

    def steps(self, pending: Mapping[Path, Sequence[str]]) -> Iterator[Recovered]:
        """Recover what is pending, one trace a step, and take away what nobody needs any more."""
        where = _index(self._settings.state_dir) if any(pending.values()) else {}
        for folder, trace_ids in pending.items():
            yield from self._recover_folder(folder, trace_ids, where)
        self._tidy()

    def live_runs(self) -> set[str]:
        """Give the runs that live processes have journals of."""
        folders = [folder for folder in spool.processes(self._settings.state_dir) if spool.is_live(folder)]
        return {log.run_id for folder in folders for log in _summaries(folder) if log.run_id is not None}

    def settle(self, trace_id: str, own: Path) -> Recovered:
        """Write the finished runs of a trace from everybody's journals, and see to what of `own` belongs to none.

        own: the folder of this process.
        """
        folders = _index(self._settings.state_dir).get(trace_id, [])
        return self._settle(Found.of(trace_id, folders, None), own)

    def _recover_folder(
        self, folder: Path, trace_ids: Sequence[str], where: Mapping[str, Sequence[Path]]
    ) -> Iterator[Recovered]:
        state_dir = self._settings.state_dir
        with spool.claimed(folder) as ours, suppress(OSError, JournalVersionError), JournalFolder(folder) as journals:
            if not ours or spool.settled_for(folder) is not None:
                return  # another recovery has it, or has seen to all of it since
            left = False
            done = spool.done_in(folder)
            for trace_id in (trace_id for trace_id in trace_ids if trace_id not in done):
                others = {*where.get(trace_id, ()), *spool.participants(state_dir, trace_id)} - {folder}
                found = Found.of(trace_id, sorted(others), journals)
                made = self._settle(found, folder)
                if not (made.left or self._exporter is None or self._send is None):
                    made = msgspec.structs.replace(made, left=not self._send(found.cut_off(folder)))
                left = left or made.left
                if self._exporter is not None and not made.left:
                    spool.mark_done(folder, trace_id)
                yield made
            if self._exporter is not None and not left:
                self._clean(journals, self._exporter)
                cut_off_unused(folder)
                spool.mark_settled(folder)

    def _clean(self, journals: JournalFolder, exporter: Exporter) -> None:
        """Write the journals of a folder anew where they hold what must not be kept."""
        logs = journals.logs()
        held = [[_as_found(record, log) for record in log.everything()] for log in logs]
        cleaned = [exporter.cleaned(records) for records in held]
        if any(
            len(now) != len(then) or any(map(operator.is_not, now, then))
            for now, then in zip(cleaned, held, strict=True)
        ):
            rewrite(journals.folder, zip(logs, cleaned, strict=True))

    def _settle(self, found: Found, own: Path) -> Recovered:
        records = found.records()
        finished = found.finished(records)
        made = Recovered(
            otel_trace_id=found.trace_id,
            processes=sorted(folder.name for folder in found.dead),
            run_ids=sorted(finished),
            died=sorted(_run_ids(record for record in records if semconv.RUN_RECOVERED in record.attributes)),
            decisions=sum(semconv.DECISION_TYPE in event.attributes for record in records for event in record.events),
            damaged=sum(log.damaged for log in found.logs),
        )
        if self._exporter is None:
            return made
        outcomes = self._exporter.export_records(belonging(records, finished))
        rest = [log for log in found.logs if log.folder == own and not log.sealed]
        waiting = [log for log in rest if not self._has_its_place(log, found, records, finished)]
        left = bool(waiting) or any(not outcome.settled for outcome in outcomes)
        return msgspec.structs.replace(made, runs=outcomes, left=left)

    def _has_its_place(
        self, log: FoundLog, found: Found, records: Sequence[SpanRecord], written: set[str]
    ) -> bool:  # fmt: skip
        """See to what of a log was not written with its run just now; False where it has to wait for that."""
        run_of = membership({key(record): record for record in records})
        for run_id in ({run_of[key(record)] for record in log.records()} or {log.run_id}) - written:
            file = self._trace_file(run_id) if run_id is not None else None
            if run_id in _run_ids(records):
                return False
            if file is not None:
                place = left_over.beside(file)
            elif found.silent_for() > self._settings.settle_after:
                place = left_over.unclaimed(self._settings.state_dir, found.trace_id)
            else:
                return False
            try:
                left_over.keep(place, self._exporter.cleaned(log.everything()) if self._exporter is not None else [])
            except OSError as error:
                logger.error("cannot write %s: %s; it is tried again", place, error.strerror)  # noqa: TRY400 # one line
                return False
        return True

    def _trace_file(self, run_id: str) -> Path | None:
        if not is_run_id(run_id):
            return None  # it came from outside, and is going to be a path
        return next(self._settings.brain_dir.glob(f"projects/*/_traces/{run_id}.json"), None)

    def _unsettled(self, folder: Path) -> list[str] | None:
        done = spool.done_in(folder)
        try:
            with JournalFolder(folder) as journals:
                trace_ids = dict.fromkeys(log.trace_id for log in journals.summaries if not log.sealed)
        except (OSError, JournalVersionError) as error:
            if str(error) not in self.problems:
                logger.error("%s; its runs stay there", error)  # noqa: TRY400 # the error says it all
                self.problems.append(str(error))
            return None
        return [trace_id for trace_id in trace_ids if trace_id not in done]

    def _tidy(self) -> None:
        """Take away the journals of processes that died whose runs have been safe for long enough."""
        if self._exporter is None:
            return
        state_dir, old = self._settings.state_dir, self._settings.settle_after
        for folder in spool.processes(state_dir):
            if (spool.settled_for(folder) or 0.0) > old:
                with spool.claimed(folder) as ours:
                    trace_ids = {log.trace_id for log in _summaries(folder)}
                    if ours and not any(_awaits(state_dir, trace_id, old) for trace_id in trace_ids):
                        shutil.rmtree(folder, ignore_errors=True)
                        for trace_id in trace_ids:
                            spool.done_with(state_dir, trace_id, folder.name)
        spool.remove_unfinished(state_dir)


def _last_ns(log: FoundLog) -> int:
    """Give when a log's process was last heard of."""
    return max((entry.time_ns for entry in log.entries if isinstance(entry, _TIMED)), default=0)


def _ended(record: SpanRecord, end_ns: int) -> SpanRecord:
    attributes = {**record.attributes, semconv.RUN_RECOVERED: True}
    why = record.attributes.get(semconv.RUN_ERROR)
    return msgspec.structs.replace(
        record,
        end_ns=max(end_ns, record.start_ns),
        status="ERROR",
        status_description=str(why or "its process died"),
        attributes=attributes,
    )


def _as_found(record: SpanRecord, log: FoundLog) -> SpanRecord:
    """Say of a run whose process died before it was safe that it was read from a journal, and what ended it."""
    if log.sealed or not is_run_span(record) or record.attributes.get(semconv.RUN_ID) != log.run_id:
        return record
    facts: dict[str, object] = {semconv.RUN_RECOVERED: True}
    if record.end_ns is None and semconv.RUN_ERROR not in record.attributes:
        pid = log.folder.name.partition("-")[0]
        facts[semconv.RUN_ERROR] = f"process {pid} was {f'ended by {log.terminated}' if log.terminated else 'killed'}"
    return msgspec.structs.replace(record, attributes={**record.attributes, **facts})


def _run_ids(records: Iterable[SpanRecord]) -> set[str]:
    """Give the runs whose own spans are among the records."""
    return {str(record.attributes[semconv.RUN_ID]) for record in records if is_run_span(record)}


def _logs(folder: Path, trace_id: str) -> list[FoundLog]:
    try:
        with JournalFolder(folder) as journals:
            return journals.logs(trace_id)
    except (OSError, JournalVersionError):
        return []  # said where its folder is recovered


def _summaries(folder: Path) -> list[Summary]:
    try:
        with JournalFolder(folder) as journals:
            return journals.summaries
    except (OSError, JournalVersionError):
        return []  # as above


def _index(state_dir: Path) -> dict[str, list[Path]]:
    """Give the folders that hold something of a trace, by trace."""
    where: dict[str, list[Path]] = {}
    for folder in spool.processes(state_dir):
        for trace_id in {log.trace_id for log in _summaries(folder)}:
            where.setdefault(trace_id, []).append(folder)
    return where


def _awaits(state_dir: Path, trace_id: str, old: float) -> bool:
    """Tell whether a process that takes part in a trace has not been settled for long enough."""
    others = [folder for folder in spool.participants(state_dir, trace_id) if folder.is_dir()]
    return any((spool.settled_for(folder) or 0.0) <= old for folder in others)
