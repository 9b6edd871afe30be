"""Spans to runs: which span belongs to which run, and when a run that arrives in pieces is complete."""

import time
from collections.abc import Callable, Iterable

import msgspec

from ire_otel.assembly.selection import is_run_span, key, membership
from ire_otel.records import SpanRecord


def split_by_run(records: Iterable[SpanRecord]) -> dict[str, list[SpanRecord]]:
    """Give the records of each run by run id; spans that belong to no run are left out."""
    given = list(records)
    run_of = membership({key(record): record for record in given})
    runs: dict[str, list[SpanRecord]] = {}
    for record in given:
        run_id = run_of[key(record)]
        if run_id is not None:
            runs.setdefault(run_id, []).append(record)
    return runs


class _Trace(msgspec.Struct):
    """What has arrived of one OpenTelemetry trace."""

    records: list[SpanRecord]
    changed: float
    due: float | None = None
    """When its runs are to be written; None while no run has ended in it."""


class TraceBuffer:
    """Holds spans by OpenTelemetry trace until their runs have ended, and a while longer for late ones.

    Not thread-safe.
    """

    def __init__(self, grace_period: float, settle_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Both in seconds: from the end of a run to its document, and from there until its spans are forgotten."""
        self._grace_period = grace_period
        self._settle_after = settle_after
        self._clock = clock
        self._traces: dict[str, _Trace] = {}

    def add(self, records: Iterable[SpanRecord]) -> None:
        """Take spans as they arrive, in any order."""
        now = self._clock()
        for record in records:
            trace = self._traces.setdefault(record.trace_id, _Trace([], now))
            trace.records.append(record)
            trace.changed = now
        for trace in self._traces.values():
            if trace.changed == now and trace.due is None and any(map(is_run_span, trace.records)):
                trace.due = now + self._grace_period

    def due(self, *, everything: bool = False) -> list[SpanRecord]:
        """Give the records of every trace whose runs are due; `everything`: of all traces, ended runs or not.

        They are kept for late spans, which make their trace due again, and forgotten after `settle_after`.
        """
        now = self._clock()
        ready: list[SpanRecord] = []
        for trace_id, trace in list(self._traces.items()):
            if everything or (trace.due is not None and trace.due <= now):
                ready += trace.records
                trace.due = None
            if trace.due is None and trace.changed < now - self._settle_after:
                del self._traces[trace_id]
        return ready

    def again(self, records: Iterable[SpanRecord], after: float) -> None:
        """Make traces due once more, in `after` seconds: they could not be written."""
        for trace_id in {record.trace_id for record in records} & self._traces.keys():
            self._traces[trace_id].due = self._clock() + after

    def next_due(self) -> float | None:
        """Give the seconds until the next trace is due; None if none is waiting."""
        waiting = [trace.due for trace in self._traces.values() if trace.due is not None]
        return max(0.0, min(waiting) - self._clock()) if waiting else None
