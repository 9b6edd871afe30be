"""The host that runs meet in a test: it keeps their logs, and gives ids and times that are the same every time."""

from __future__ import annotations

import itertools
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, SpanContext, TraceFlags

from ire_otel import assembly, reader
from ire_otel.recording import scope
from ire_otel.recording.process import identity
from ire_otel.runlog import RunLog
from ire_otel.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from ire_otel.model import TraceDocument
    from ire_otel.recording.process import Clock
    from ire_otel.recording.run import Trace
    from ire_otel.records import ExportOutcome

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When the first captured run begins."""
STEP_NS: Final = 1_000_000
"""How far the clock goes on each time it is read: a millisecond."""
GENERATOR: Final = "ire-otel"
"""`metadata.generator` of captured documents: without a version, so that an upgrade alone changes no snapshot."""


def stepping_clock() -> Clock:
    """Give a clock that starts at EPOCH and moves only when it is read. No two readings are equal, in any thread."""
    start = int(EPOCH.timestamp()) * 1_000_000_000
    return itertools.count(start, STEP_NS).__next__


class CountingTracer(NoOpTracer):
    """Makes spans that have an id, counted up from 1, and nothing else: the run log holds the rest."""

    def __init__(self) -> None:
        self._next_trace_id = itertools.count(1).__next__
        self._next_span_id = itertools.count(1).__next__

    def start_span(self, name: str, context: Context | None = None, *_args: Any, **_kwargs: Any) -> Span:  # noqa: ARG002 # as Tracer has it
        """Start a span in the trace of the run around it; whatever else is current, with ids of its own, counts not."""
        around = scope.current() if context is None else scope.within(context)
        inside = around is not None and around.trace.recording
        trace_id = int(around.trace.trace_id_hex, 16) if around is not None and inside else self._next_trace_id()
        flags = TraceFlags(TraceFlags.SAMPLED)
        return NonRecordingSpan(SpanContext(trace_id, self._next_span_id(), is_remote=False, trace_flags=flags))


class CapturingHost:
    """Keeps the log of every run, and assembles it when asked: what is recorded late is in it, too."""

    def __init__(self) -> None:
        self.settings = Settings(exporters=(), raise_errors=True)
        self.foreign_spans: str | None = None
        self.open: dict[str, Trace] = {}
        """The runs that have not ended, by trace id."""
        self._clock = stepping_clock()
        self._tracer = CountingTracer()
        self._logs: dict[str, RunLog] = {}

    def records(self, project: str | None) -> bool:  # noqa: ARG002 # the Host's
        """Trace every project."""
        return True

    def tracer(self) -> Tracer:
        """Give the counting tracer."""
        return self._tracer

    def clock(self) -> Clock:
        """Give the clock, the same for all runs, so that their documents can be put in order."""
        return self._clock

    def mirrors(self) -> bool:
        """Say that nobody reads the spans."""
        return False

    def resource(self) -> Mapping[str, Any]:
        """Describe no process: it would differ from machine to machine."""
        return {}

    def log(self, run_id: str, trace_id: str) -> RunLog:
        """Give a log in memory."""
        return RunLog(run_id, identity.id, self.resource(), trace_id=trace_id)

    def joined_log(self, run_id: str, trace_id: str) -> RunLog:
        """Give a log that nobody looks at: the run is another process's."""
        return self.log(run_id, trace_id)

    def open_run(self, run_id: str) -> Trace | None:
        """Give a run that has not ended."""
        return self.open.get(run_id)

    def opened(self, trace: Trace) -> None:
        """Learn that a run began."""
        self.open[trace.trace_id] = trace
        self._logs[trace.trace_id] = trace.log

    def closed(self, log: RunLog) -> Future[ExportOutcome | None]:
        """Learn that a run ended; nothing is written, and the outcome says so."""
        self.open.pop(log.run_id, None)
        outcome: Future[ExportOutcome | None] = Future()
        outcome.set_result(None)
        return outcome

    def before_fork(self, timeout: float) -> None:
        """Nothing happens in the background."""

    def late(self, log: RunLog) -> None:
        """Do nothing: the next look at the documents sees what was added."""

    def end_open_runs(self) -> None:
        """End what the test left open, the innermost run first."""
        for trace in reversed(tuple(self.open.values())):
            trace.end_run(unmarked="incomplete")

    def documents(self) -> list[TraceDocument]:
        """Give the documents of all finished runs as a reader of their files would get them, the earliest run first."""
        return [_document(log) for run_id, log in sorted(self._logs.items()) if run_id not in self.open]


def _document(log: RunLog) -> TraceDocument:
    document = assembly.assemble(log.records(), run_id=log.run_id)
    metadata = msgspec.structs.replace(document.metadata, generator=GENERATOR, tracing_overhead_ms=0.0)
    return reader.decode(assembly.encode(msgspec.structs.replace(document, metadata=metadata)), log.run_id)
