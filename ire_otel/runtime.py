"""The composition root: puts settings, provider, processor, worker and exporters together, and takes them apart."""

from __future__ import annotations

import atexit
import difflib
import functools
import os
import random
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from importlib.metadata import EntryPoint, entry_points, version
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Tracer

from ire_otel import forwarding, processor, semconv, settings
from ire_otel.errors import ConfigurationError
from ire_otel.journals import RunJournals
from ire_otel.processor import RunProcessor
from ire_otel.recording import host
from ire_otel.recording.guard import logger, warn_once
from ire_otel.recording.process import Clock, anchored_clock
from ire_otel.settings import Settings
from ire_otel.signals import EndingSignals
from ire_otel.worker import RecordExporter, Worker

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

    from ire_otel.recording.run import Trace
    from ire_otel.records import ExportOutcome
    from ire_otel.runlog import RunLog
    from ire_otel.steps import Step

EXPORTER_GROUP: Final = "opentelemetry_traces_exporter"
OWN_EXPORTER: Final = "ire"
NO_EXPORTER: Final = "none"
_PATIENCE: Final = 3600.0
"""Seconds that a shutdown without a limit waits."""
_BEFORE_OTHERS: Final = 100
"""When, among what multiprocessing does at the end of a child: before queues and pools are taken down."""
_START_AFTER: Final = 2.0
"""Seconds after the first run began until the background work does, where nobody configured."""
_POLL: Final = 0.002
"""Seconds between two looks at runs that other threads are ending."""
UNLIMITED: Final = SpanLimits(
    max_attributes=SpanLimits.UNSET,
    max_span_attributes=SpanLimits.UNSET,
    max_events=SpanLimits.UNSET,
    max_links=SpanLimits.UNSET,
    max_event_attributes=SpanLimits.UNSET,
    max_link_attributes=SpanLimits.UNSET,
)
"""The run log has no limits either, so spans of a provider of ours hold all that it holds."""


class Runtime:
    """One configuration at work: the Host that recording hands runs to."""

    def __init__(
        self, chosen: Settings, steps: Sequence[Step], provider: TracerProvider | None, *, may_set_global: bool
    ) -> None:
        """Raises ConfigurationError for an exporter that does not exist. provider: None looks for the application's."""
        self.settings = chosen
        self._steps = steps
        self._enabled = chosen.enabled and not settings.tracing_switched_off()
        found = {name: _exporter(name, chosen) for name in chosen.exporters if name != NO_EXPORTER}
        own = found.pop(OWN_EXPORTER, None)
        self._open: dict[str, Trace] = {}
        self._journals = RunJournals(chosen, self.resource, lambda: tuple(self._open.values()))
        self.processor = RunProcessor(self.late, self._journals.joined)
        self._journals.forgotten = self.processor.forget
        self._worker = (
            None
            if own is None
            else Worker(lambda: _research_exporter(own, chosen, steps), self._journals, chosen.state_dir)
        )
        self._others = found
        self._forwarding: list[SpanProcessor] = []
        self._tracer: Tracer | None = None
        self._provider: TracerProvider | None = None
        self.private = False
        self.foreign_spans: str | None = None
        self._signals = EndingSignals(self._journals.terminated)
        if self._enabled:
            self._attach(*_provider(provider, may_set_global=may_set_global))
            self._signals.install()
        leave_with_multiprocessing()

    def _attach(self, provider: TracerProvider, private: bool) -> None:  # noqa: FBT001 # from one function's pair
        self._provider, self.private = provider, private
        self.foreign_spans = None if private or processor.keeps_everything(provider.sampler) else "sampled"
        processor.attach(self.processor, provider)
        self._tracer = _with_own_ids(provider.get_tracer(semconv.SCOPE, version("ire-otel")))
        for entry_point in self._others.values():
            exporter = cast("SpanExporter", entry_point.load()())
            forwarding_processor = forwarding.forwarding_processor(exporter, self.processor, self._steps)
            provider.add_span_processor(forwarding_processor)
            self._forwarding.append(forwarding_processor)

    def records(self, project: str | None) -> bool:
        """Tell whether runs of `project` are traced."""
        return self._enabled and self.settings.enabled_for(project)

    def tracer(self) -> Tracer:
        """Give the tracer for a new run; an application that has set its provider by now gets the run's spans there."""
        if self.private and _application_provider() is not None:
            self._detach_forwarding()
            self._attach(*_provider(None, may_set_global=False))
        return cast("Tracer", self._tracer)

    def clock(self) -> Clock:
        """Give a clock that is wall time now and never jumps."""
        return anchored_clock()

    def mirrors(self) -> bool:
        """Tell whether a processor other than our own sees the spans; the run log does not need what is on them."""
        return not isinstance(self._provider, _OwnProvider) or self._provider.watched

    def resource(self) -> Mapping[str, Any]:
        """Give the resource attributes of the provider."""
        return {} if self._provider is None else dict(self._provider.resource.attributes)

    def log(self, run_id: str, trace_id: str) -> RunLog:
        """Give the log of a new run."""
        return self._journals.log(run_id, trace_id)

    def joined_log(self, run_id: str, trace_id: str) -> RunLog:
        """Give the log of this process's part in a run that another began."""
        return self._journals.joined(run_id, trace_id)

    def open_run(self, run_id: str) -> Trace | None:
        """Give a run that this process has open."""
        trace = self._open.get(run_id)
        return trace if trace is not None and trace.owned else None

    def opened(self, trace: Trace) -> None:
        """Learn that a run began."""
        self._open[trace.trace_id] = trace
        self.processor.opened(trace.log)

    def closed(self, log: RunLog) -> Future[ExportOutcome | None]:
        """Take a finished run to the worker."""
        self.processor.ended(log)
        outcome: Future[ExportOutcome | None] = Future()
        if self._worker is not None:
            outcome = self._worker.submit(log)
        else:
            outcome.set_result(None)
            self._journals.settled(log)
        self._open.pop(log.run_id, None)  # only now: shutdown waits for runs that another thread is ending
        return outcome

    def before_fork(self, timeout: float) -> None:
        """Wait until nothing is being imported, at most `timeout` seconds."""
        if self._worker is not None:
            self._worker.before_fork(timeout)

    def begin_anew(self) -> None:
        """In a forked child: leave the parent's runs to the parent."""
        self._open.clear()
        self.processor.begin_anew()
        self._journals.begin_anew()

    def late(self, log: RunLog) -> None:
        """Take a finished run to the worker again."""
        if self._worker is not None:
            self._worker.late(log)

    def start(self) -> None:
        """Begin in the background: recover what processes left that died, keep the rows of open runs fresh."""
        if self._worker is not None and self._enabled:
            self._worker.start()

    def flush(self, timeout: float | None) -> bool:
        """Write what is finished and send what is queued."""
        written = self._worker is None or self._worker.flush(timeout)
        millis = 30_000 if timeout is None else int(timeout * 1000)
        return all([written, *(other.force_flush(millis) for other in self._forwarding)])

    def shutdown(self, timeout: float | None) -> bool:
        """End open runs as incomplete, write and send everything, and stop."""
        self._signals.remove()
        for trace in reversed(tuple(self._open.values())):
            trace.end_run(unmarked="incomplete")
        deadline = time.monotonic() + (_PATIENCE if timeout is None else timeout)
        while any(trace.owned for trace in tuple(self._open.values())) and time.monotonic() < deadline:
            time.sleep(_POLL)
        if self._journals.is_late():
            self.start()
        left_over = 0 if self._worker is None else self._worker.stop(max(0.0, deadline - time.monotonic()))
        if left_over:
            kept = "their journals stay, and the next start writes them" if self._journals.kept else "they are lost"
            logger.error("%d finished runs could not be written in time; %s", left_over, kept)
        self._journals.close(settled=not left_over)
        self._detach_forwarding()
        processor.detach(self.processor)
        return not left_over

    def _detach_forwarding(self) -> None:
        for other in self._forwarding:
            other.shutdown()
        self._forwarding.clear()


def configure(*, tracer_provider: TracerProvider | None = None, steps: Iterable[Step] = (), **overrides: Any) -> None:
    """Configure on purpose: sets OpenTelemetry's global provider where the application has set none.

    While a test captures runs the settings are only checked, so that an application under test may configure.
    """
    chosen = settings.load(overrides)
    with host.lock():
        if not isinstance(host.installed(), Runtime | None):
            return
        made = Runtime(chosen, tuple(steps), tracer_provider, may_set_global=True)
        shutdown(chosen.shutdown_timeout)
        host.install(made)
        made.start()


def configure_at_first_run() -> Runtime:
    """Configure because a run begins: takes what can be used of wrong settings, leaves the global provider alone."""
    chosen, problems = settings.load_leniently()
    for problem in problems:
        logger.error("%s; ire-otel goes on without it", problem)
    try:
        made = Runtime(chosen, (), None, may_set_global=False)
    except ConfigurationError as error:
        logger.error("%s; ire-otel goes on with its own exporter only", error)  # one line, no traceback
        made = Runtime(settings.with_exporters(chosen, (OWN_EXPORTER,)), (), None, may_set_global=False)
    # Not at once: it would import the exporter while the first run is under way.
    starting = threading.Timer(_START_AFTER, made.start)
    starting.daemon = True
    starting.start()
    return made


def flush(timeout: float | None = None) -> bool:
    """Wait until everything finished so far is written and sent; False if `timeout` (seconds) ran out first."""
    current = host.installed()
    return current.flush(timeout) if isinstance(current, Runtime) else True


def shutdown(timeout: float | None = None) -> bool:
    """Flush, end open runs as incomplete, stop; the next run configures anew."""
    with host.lock():
        current = host.installed()
        if not isinstance(current, Runtime):
            return True
        limit = current.settings.shutdown_timeout if timeout is None else timeout
        host.install(None)
        return current.shutdown(limit)


def leave_with_multiprocessing() -> None:
    """See to it that a child of multiprocessing shuts down, too: it ends without the interpreter's own exit."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, shutdown, exitpriority=_BEFORE_OTHERS)


def _after_fork() -> None:
    """In a forked child: nothing of the parent's may be touched, and what the child records is its own."""
    current = host.installed()
    if isinstance(current, Runtime):
        current.begin_anew()
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # It forgets what was registered before, and calls this once it has.
        util.register_after_fork(_after_fork, lambda _: leave_with_multiprocessing())


atexit.register(shutdown)
os.register_at_fork(after_in_child=_after_fork)


def _research_exporter(entry_point: EntryPoint, chosen: Settings, steps: Sequence[Step]) -> RecordExporter:
    return cast("RecordExporter", entry_point.load()(settings=chosen, steps=steps))


def _exporter(name: str, chosen: Settings) -> EntryPoint:
    """Find an exporter by its OpenTelemetry name. Raises ConfigurationError with the nearest one."""
    wanted = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}[chosen.otlp_protocol]
    looked_up = wanted if name == "otlp" else name
    known = {entry_point.name: entry_point for entry_point in entry_points(group=EXPORTER_GROUP)}
    if looked_up in known:
        return known[looked_up]
    if name == "otlp":
        raise ConfigurationError("exporter 'otlp' in exporters needs an extra: pip install 'ire-otel[otlp]'")
    nearest = difflib.get_close_matches(name, [*known, "otlp", NO_EXPORTER], n=1)
    remedy = f"did you mean {nearest[0]!r}?" if nearest else f"installed are {', '.join(sorted(known))}"
    raise ConfigurationError(f"unknown exporter {name!r} in exporters: {remedy}")


class _OwnIds(RandomIdGenerator):
    """Ids that no experiment makes come again: OpenTelemetry takes its own from `random`, which pipelines seed."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 # not SystemRandom, which would give up the interpreter's lock
        os.register_at_fork(after_in_child=self._random.seed)

    def generate_span_id(self) -> int:
        """Give a span id."""
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        """Give a trace id."""
        return self._random.getrandbits(128) or 1


_ids = _OwnIds()


def _with_own_ids(tracer: Tracer) -> Tracer:
    """Have runs and stages get ids of ours, unless the application's provider makes ids in a way of its own."""
    if type(getattr(tracer, "id_generator", None)) is RandomIdGenerator:
        cast("Any", tracer).id_generator = _ids
    return tracer


@functools.cache
def _resource() -> Resource:
    """Describe this process as OpenTelemetry does; once, for it starts threads, which an interpreter that exits refuses."""
    return Resource.create()


class _OwnProvider(TracerProvider):
    """A provider of ours, which knows whether anybody else looks at its spans."""

    watched = False

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor."""
        self.watched = self.watched or not isinstance(span_processor, RunProcessor)
        super().add_span_processor(span_processor)


def _provider(given: TracerProvider | None, *, may_set_global: bool) -> tuple[TracerProvider, bool]:
    """Choose the provider: (provider, whether it is private, so that foreign spans do not come by)."""
    if given is not None:
        return given, False
    application = _application_provider()
    if application is not None:
        return application, False
    current = otel.get_tracer_provider()
    made = _OwnProvider(span_limits=UNLIMITED, resource=_resource(), id_generator=_ids, shutdown_on_exit=False)
    if may_set_global and isinstance(current, otel.ProxyTracerProvider):
        otel.set_tracer_provider(made)
        return made, False
    if not isinstance(current, otel.ProxyTracerProvider):
        kind = type(current).__qualname__
        warn_once("the tracer provider %s takes no span processors; runs are traced beside it", kind)
    return made, True


def _application_provider() -> TracerProvider | None:
    current = otel.get_tracer_provider()
    return cast("TracerProvider", current) if hasattr(current, "add_span_processor") else None
