"""The composition root: puts settings, provider, processor, worker and exporters together, and takes them apart."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

from ire_otel import exporter_names, forwarding, processor, providers, settings
from ire_otel.errors import ConfigurationError
from ire_otel.journals import RunJournals
from ire_otel.processor import RunProcessor
from ire_otel.recording import host
from ire_otel.recording.guard import logger
from ire_otel.recording.process import Clock, anchored_clock
from ire_otel.sdk_spans import to_readable
from ire_otel.settings import Settings
from ire_otel.signals import EndingSignals
from ire_otel.worker import RecordExporter, Worker

if TYPE_CHECKING:
    from ire_otel.forwarding import ForwardingProcessor
    from ire_otel.recording.run import Trace
    from ire_otel.records import ExportOutcome, SpanRecord
    from ire_otel.runlog import RunLog
    from ire_otel.steps import Step

_SENDING: Final = 30.0
"""Seconds that other exporters have to send what is queued where nobody says a time."""
_PATIENCE: Final = 3600.0
"""Seconds that a shutdown without a limit waits."""
_BEFORE_OTHERS: Final = 100
"""When, among what multiprocessing does at the end of a child: before queues and pools are taken down."""
_START_AFTER: Final = 2.0
"""Seconds until the background work begins where nobody configured, or in a process that takes part in a run."""
_POLL: Final = 0.002
"""Seconds between two looks at runs that other threads are ending."""


class Runtime:
    """One configuration at work: the Host that recording hands runs to."""

    def __init__(
        self, chosen: Settings, steps: Sequence[Step], provider: TracerProvider | None, *, may_set_global: bool
    ) -> None:
        """Raises ConfigurationError for an exporter that does not exist. provider: None looks for the application's."""
        self.settings = chosen
        self._steps = steps
        self._enabled = chosen.enabled and not settings.tracing_switched_off()
        wanted = [name for name in chosen.exporters if name != exporter_names.NO_EXPORTER]
        found = {name: exporter_names.find_exporter(name, chosen) for name in wanted}
        exporter_names.check_content(chosen)
        own = found.pop(exporter_names.OWN_EXPORTER, None)
        self._open: dict[str, Trace] = {}
        self._journals = RunJournals(chosen, self)
        self.processor = RunProcessor(self.late, self._journals.joined)
        self._starting: threading.Timer | None = None
        self._stopped = False
        self._worker = (
            None
            if own is None
            else Worker(lambda: _research_exporter(own, chosen, steps), self._journals, chosen.state_dir)
        )
        self._others = {name: exporter_names.loaded(name, entry_point) for name, entry_point in found.items()}
        self._forwarding: list[ForwardingProcessor] = []
        self._tracer: Tracer | None = None
        self._provider: TracerProvider | None = None
        self.private = False
        self.foreign_spans: str | None = None
        self._signals = EndingSignals(self._journals.terminated)
        if self._enabled:
            self._attach(*providers.choose(provider, may_set_global=may_set_global))
            self._signals.install()
        leave_with_multiprocessing()

    def _attach(self, provider: TracerProvider, private: bool) -> None:  # noqa: FBT001 # from one function's pair
        self._provider, self.private = provider, private
        self.foreign_spans = None if private or processor.keeps_everything(provider.sampler) else "sampled"
        processor.attach(self.processor, provider, writes=self._worker is not None)
        self._tracer = providers.tracer_of(provider)
        for name, make in self._others.items():
            exporter = forwarding.made(name, make, self.settings, self._steps, self.processor)
            if exporter is not None:
                forwarding_processor = forwarding.ForwardingProcessor(exporter)
                provider.add_span_processor(forwarding_processor)
                self._forwarding.append(forwarding_processor)

    def records(self, project: str | None) -> bool:
        """Tell whether runs of `project` are traced."""
        return self._enabled and self.settings.enabled_for(project)

    def tracer(self) -> Tracer:
        """Give the tracer for a new run; an application that has set its provider by now gets the run's spans there."""
        if self.private and providers.of_application() is not None:
            self._detach_forwarding(_SENDING)
            self._attach(*providers.choose(None, may_set_global=False))
        return cast("Tracer", self._tracer)

    def clock(self) -> Clock:
        """Give a clock that is wall time now and never jumps."""
        return anchored_clock()

    def mirrors(self) -> bool:
        """Tell whether a processor other than our own sees the spans; the run log does not need what is on them."""
        return not isinstance(self._provider, providers.OwnProvider) or self._provider.watched

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

    def open_runs(self) -> Collection[Trace]:
        """Give the runs that are open."""
        return tuple(self._open.values())

    def forget(self, log: RunLog) -> None:
        """Take no more spans for a run."""
        self.processor.forget(log)

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
            self._journals.settled(log, log.position)
        self._open.pop(log.run_id, None)  # only now: shutdown waits for runs that another thread is ending
        return outcome

    def before_fork(self, timeout: float) -> None:
        """Wait until nothing is being imported, at most `timeout` seconds."""
        if self._worker is not None:
            self._worker.before_fork(timeout)

    def begin_anew(self) -> None:
        """In a forked child: leave the parent's runs to the parent."""
        self._open.clear()
        self._starting = None
        self.processor.begin_anew()
        self._journals.begin_anew()

    def send(self, records: Sequence[SpanRecord]) -> bool:
        """Queue spans for the other exporters."""
        for forwarding_processor in self._forwarding:
            for record in records:
                forwarding_processor.on_end(to_readable(record))
        return True

    def late(self, log: RunLog) -> None:
        """Take a finished run to the worker again."""
        if self._worker is not None:
            self._worker.late(log)

    def start(self) -> None:
        """Begin in the background: recover what processes left that died, keep the rows of open runs fresh."""
        if self._worker is not None and self._enabled and not self._stopped:
            self._worker.start()

    def start_soon(self) -> None:
        """Begin in the background, but not at once: that imports the exporter while the first run is under way."""
        if self._starting is None:
            self._starting = threading.Timer(_START_AFTER, self.start)
            self._starting.daemon = True
            self._starting.start()

    def flush(self, timeout: float | None) -> bool:
        """Write what is finished and send what is queued."""
        deadline = time.monotonic() + (timeout or 0.0)
        written = self._worker is None or self._worker.flush(timeout)
        left = _SENDING if timeout is None else max(0.0, deadline - time.monotonic())
        return forwarding.flush(self._forwarding, left) and written

    def shutdown(self, timeout: float | None) -> bool:
        """End open runs as incomplete, write and send everything, and stop."""
        self._signals.remove()
        if self._starting is not None:
            self._starting.cancel()
        for trace in reversed(tuple(self._open.values())):
            trace.end_run(unmarked="incomplete")
        deadline = time.monotonic() + (_PATIENCE if timeout is None else timeout)
        while any(trace.owned for trace in tuple(self._open.values())) and time.monotonic() < deadline:
            time.sleep(_POLL)
        if self._journals.is_late():
            self.start()
        self._stopped = True
        left_over = 0 if self._worker is None else self._worker.stop(max(0.0, deadline - time.monotonic()))
        if left_over:
            kept = "their journals stay, and the next start writes them" if self._journals.kept else "they are lost"
            logger.error("%d finished runs could not be written in time; %s", left_over, kept)
        self._journals.close(settled=not left_over)
        self._detach_forwarding(min(_SENDING, max(1.0, deadline - time.monotonic())))
        processor.detach(self.processor)
        return not left_over

    def _detach_forwarding(self, timeout: float) -> None:
        forwarding.shutdown(self._forwarding, timeout)
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


def configure_at_first_run(elsewhere: Collection[str] = ()) -> Runtime:
    """Configure because a run begins: takes what can be used of wrong settings, leaves the global provider alone.

    elsewhere: exporters that the application's provider has already, so that no span is sent twice.
    """
    chosen, problems = settings.load_leniently()
    chosen, unusable = exporter_names.with_usable_exporters(chosen, {*elsewhere} - {exporter_names.OWN_EXPORTER})
    for problem in (*problems, *unusable):
        logger.error("%s; ire-otel goes on without it", problem)
    try:
        made = Runtime(chosen, (), None, may_set_global=False)
    except ConfigurationError as error:
        logger.error("%s; ire-otel goes on with its own exporter only", error)  # one line, no traceback
        made = Runtime(settings.with_exporters(chosen, (exporter_names.OWN_EXPORTER,)), (), None, may_set_global=False)
    made.start_soon()
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
