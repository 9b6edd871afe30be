"""Spans to runs: which span belongs to which run, and when a run that arrives in pieces is complete."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from ire_otel import semconv
from ire_otel.assembly.merging import merge
from ire_otel.assembly.selection import is_run_span, key, membership
from ire_otel.locations import is_run_id
from ire_otel.records import SpanRecord


def split_by_run(records: Iterable[SpanRecord]) -> dict[str, list[SpanRecord]]:
    """Give the records of each run by run id; spans that belong to no run are left out."""
    given = list(records)
    run_of = membership({key(record): record for record in merge(given)})  # copies of a span may name different runs
    runs: dict[str, list[SpanRecord]] = {}
    for record in given:
        run_id = run_of[key(record)]
        if run_id is not None:
            runs.setdefault(run_id, []).append(record)
    return runs


def has_usable_run_id(record: SpanRecord) -> bool:
    """Tell whether what a span from outside names as its run, if anything, can be one: it becomes a path."""
    run_id = record.attributes.get(semconv.RUN_ID)
    return run_id is None or (isinstance(run_id, str) and is_run_id(run_id))


def finished(runs: Mapping[str, Sequence[SpanRecord]]) -> set[str]:
    """Give those of the runs whose own span is there and has ended."""
    return {
        run_id
        for run_id, records in runs.items()
        if any(is_run_span(record) and record.end_ns is not None for record in records)
    }


class _Trace(msgspec.Struct):
    """What is known of one OpenTelemetry trace."""

    changed: float
    run_ended: bool = False
    whole: bool = False
    """Whether all that it holds is written."""


class TraceSchedule:
    """Says of OpenTelemetry traces that arrive in pieces when their runs are due, and when they may be forgotten.

    Not thread-safe.
    """

    def __init__(self, grace_period: float, settle_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Both in seconds: from the end of a run to its document, and from there until its trace is forgotten."""
        self._grace_period = grace_period
        self._settle_after = settle_after
        self._clock = clock
        self._traces: dict[str, _Trace] = {}
        # When runs of a trace are to be written. Those that wait for late spans are many more, and not looked at.
        self._due: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._traces)

    def arrived(self, trace_id: str, *, run_ended: bool, at: float | None = None) -> None:
        """Learn that spans have come. run_ended: a run's own is among them; at: when, by the clock; None is now."""
        trace = self._traces.setdefault(trace_id, _Trace(0.0))
        trace.changed = self._clock() if at is None else at
        trace.run_ended = trace.run_ended or run_ended
        trace.whole = False
        if trace.run_ended:
            self._due.setdefault(trace_id, trace.changed + self._grace_period)

    def due(self, *, everything: bool = False) -> list[str]:
        """Give the traces whose runs are due; `everything`: those in their grace period, too."""
        now = self._clock()
        return [key for key, due in self._due.items() if everything or due <= now]

    def silent(self, seconds: float) -> list[str]:
        """Give the traces that have runs without an end, and of which nothing has come for so long."""
        before = self._clock() - seconds
        return [
            key
            for key, trace in self._traces.items()
            if key not in self._due and not trace.whole and trace.changed <= before
        ]

    def written(self, trace_id: str, *, whole: bool) -> None:
        """Learn that the runs of a trace are written: all of them (`whole`), or those that have ended."""
        self._traces[trace_id].whole = whole
        self._due.pop(trace_id, None)

    def again(self, trace_ids: Iterable[str], after: float) -> None:
        """Make traces due once more, in `after` seconds: they could not be written."""
        for trace_id in self._traces.keys() & set(trace_ids):
            self._due[trace_id] = self._clock() + after

    def settled(self, after: float | None = None) -> list[str]:
        """Give the traces that are written and have not changed for `after` seconds (else `settle_after`)."""
        before = self._clock() - (self._settle_after if after is None else after)
        waiting = [(trace.changed, key) for key, trace in self._traces.items() if trace.whole and key not in self._due]
        return [key for changed, key in sorted(waiting) if changed < before]

    def forget(self, trace_id: str) -> None:
        """Know nothing of a trace any more."""
        self._traces.pop(trace_id, None)
        self._due.pop(trace_id, None)

    def next_due(self) -> float | None:
        """Give the seconds until the next trace is due; None if none is waiting."""
        return max(0.0, min(self._due.values()) - self._clock()) if self._due else None


class TraceBuffer:
    """Holds spans by OpenTelemetry trace until their runs have ended, and a while longer for late ones.

    Not thread-safe.
    """

    def __init__(self, grace_period: float, settle_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        """As for TraceSchedule."""
        self._settle_after = settle_after
        self._schedule = TraceSchedule(grace_period, settle_after, clock)
        self._traces: dict[str, list[SpanRecord]] = {}

    def add(self, records: Iterable[SpanRecord]) -> None:
        """Take spans as they arrive, in any order."""
        for record in records:
            self._traces.setdefault(record.trace_id, []).append(record)
            self._schedule.arrived(record.trace_id, run_ended=is_run_span(record))

    def due(self, *, everything: bool = False) -> list[SpanRecord]:
        """Give the records of every trace whose runs are due; `everything`: of all traces, ended runs or not.

        They are kept for late spans, which make their trace due again, and forgotten after `settle_after`.
        """
        ready = list(self._traces) if everything else self._schedule.due()
        records = [record for trace_id in ready for record in self._traces[trace_id]]
        for trace_id in ready:
            self._schedule.written(trace_id, whole=True)
        for trace_id in (*self._schedule.settled(), *self._schedule.silent(self._settle_after)):
            self._schedule.forget(trace_id)
            del self._traces[trace_id]
        return records

    def again(self, records: Iterable[SpanRecord], after: float) -> None:
        """Make traces due once more, in `after` seconds: they could not be written."""
        self._schedule.again({record.trace_id for record in records}, after)

    def next_due(self) -> float | None:
        """Give the seconds until the next trace is due; None if none is waiting."""
        return self._schedule.next_due()
