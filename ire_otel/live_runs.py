"""The runs that go on in processes of this machine, as their journals tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from ire_otel import assembly, semconv
from ire_otel.assembly.selection import is_run_span
from ire_otel.errors import JournalVersionError
from ire_otel.journal import spool
from ire_otel.journal.reading import JournalFolder
from ire_otel.model import TraceDocument
from ire_otel.records import SpanRecord
from ire_otel.recovery import belonging, shared_records

State = Literal["open", "ended", "died"]


class LiveRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run that went on when it was looked for."""

    trace_id: str
    otel_trace_id: str
    folder: Path
    """Of the journals of the process that began it."""
    start_ns: int


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is."""

    state: State
    """`ended`: its file is written or about to be. `died`: its process did, and nobody has recovered it yet."""
    document: TraceDocument | None = None
    """What the journals hold of it so far, JSON in it as recorded; None where that is nothing any more."""


def live_runs(state_dir: Path) -> list[LiveRun]:
    """Give the runs that live processes have open, the one that began last first.

    Journals that cannot be read, or of another version, are passed over; `ire-otel doctor` names them.
    """
    found = [run for folder in spool.processes(state_dir) if spool.is_live(folder) for run in _open_in(folder)]
    return sorted(found, key=lambda run: (run.start_ns, run.trace_id), reverse=True)


def began_here(state_dir: Path, trace_ids: Collection[str]) -> set[str]:
    """Give those of the runs whose own processes, live or not, have their journals on this machine."""
    begun: set[str] = set()
    for folder in spool.processes(state_dir):
        with _journals(folder) as journals:
            for log in journals.summaries if journals is not None else ():
                if log.run_id in trace_ids and _head(_records(journals, log.trace_id), log.run_id) is not None:
                    begun.add(str(log.run_id))
    return begun


def look(state_dir: Path, run: LiveRun) -> Look:
    """Look how far a run is, what other processes recorded of it included."""
    lives = spool.is_live(run.folder)  # before its journal is read: what it recorded last is not missed then
    with _journals(run.folder) as journals:
        records = [*_records(journals, run.otel_trace_id), *shared_records(state_dir, [run.otel_trace_id])]
    head = _head(records, run.trace_id)
    if head is None:
        return Look(state="ended")
    own = belonging(records, [run.trace_id])
    document = assembly.assemble(own, run_id=run.trace_id, live=True)
    if head.end_ns is not None or spool.settled_for(run.folder) is not None:
        return Look(state="ended", document=document)
    return Look(state="open" if lives else "died", document=document)


def _open_in(folder: Path) -> Iterator[LiveRun]:
    with _journals(folder) as journals:
        unsealed = [] if journals is None else [log for log in journals.summaries if not log.sealed]
        for otel_trace_id in dict.fromkeys(log.trace_id for log in unsealed):
            records = _records(journals, otel_trace_id)
            for run_id in dict.fromkeys(log.run_id for log in unsealed if log.trace_id == otel_trace_id):
                head = _head(records, run_id)
                if run_id is not None and head is not None and head.end_ns is None:
                    yield LiveRun(trace_id=run_id, otel_trace_id=otel_trace_id, folder=folder, start_ns=head.start_ns)


def _head(records: list[SpanRecord], run_id: str | None) -> SpanRecord | None:
    """Give the run's own span."""
    heads = [record for record in records if record.attributes.get(semconv.RUN_ID) == run_id and is_run_span(record)]
    return max(heads, key=lambda head: head.end_ns is not None, default=None)


def _records(journals: JournalFolder | None, otel_trace_id: str) -> list[SpanRecord]:
    logs = [] if journals is None else journals.logs(otel_trace_id)
    return [record for log in logs for record in log.records()]


@contextmanager
def _journals(folder: Path) -> Iterator[JournalFolder | None]:
    """Open the journals of a process; None where they are gone, or cannot be read."""
    with ExitStack() as stack:
        try:
            journals = stack.enter_context(JournalFolder(folder))
        except (OSError, JournalVersionError):
            yield None
        else:
            yield journals
