"""RunProcessor: knows the open and the recently finished runs, and marks every foreign span that starts inside one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import baggage
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import get_current_span

from ire_otel import semconv
from ire_otel.recording import scope
from ire_otel.recording.guard import internal_error
from ire_otel.sdk_spans import from_readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context

    from ire_otel.records import SpanRecord
    from ire_otel.runlog import RunLog


class RunProcessor(SpanProcessor):
    """Sits in a TracerProvider. Its errors are logged, never raised: OpenTelemetry would hand them to the pipeline."""

    def __init__(self, late: Callable[[RunLog], None], joined: Callable[[str, str], RunLog]) -> None:
        """late: called with the log of a finished run that a span still came for.

        joined: gives, by run and OpenTelemetry trace, the log for spans of a run that this process does not know.
        """
        self._late = late
        self._joined = joined
        self._logs: dict[str, RunLog] = {}
        self._ended: set[str] = set()
        self._detached = False

    def detach(self) -> None:
        """Do nothing from now on: OpenTelemetry has no way to take a processor out of its provider."""
        self._detached = True

    def begin_anew(self) -> None:
        """In a forked child: the runs are the parent's."""
        self._logs, self._ended = {}, set()

    def opened(self, log: RunLog) -> None:
        """Take spans for this run from now on."""
        self._logs[log.run_id] = log

    def ended(self, log: RunLog) -> None:
        """Learn that a run ended: what comes now is late."""
        self._ended.add(log.run_id)

    def forget(self, log: RunLog) -> None:
        """Take no more spans for a run."""
        self._logs.pop(log.run_id, None)
        self._ended.discard(log.run_id)

    def record_of(self, span: ReadableSpan) -> SpanRecord | None:
        """Give a run or stage span as the run log has it, complete whatever the SDK's limits dropped."""
        log = self._logs.get(str((span.attributes or {}).get(semconv.RUN_ID)))
        context = span.get_span_context()
        return None if log is None or context is None else log.record(format(context.span_id, "016x"))

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Mark a foreign span with its run and stage.

        The ambient context comes first: frameworks choose parents of their own, but a span runs where it runs.
        """
        try:
            if not (self._detached or is_ours(span)):
                marks = _ambient_marks() or _parent_marks(parent_context)
                if marks:
                    span.set_attributes(marks)
        except Exception:  # noqa: BLE001 # would reach the pipeline
            internal_error("marking a span")

    def on_end(self, span: ReadableSpan) -> None:
        """File a foreign span with its run."""
        try:
            marks = span.attributes or {}
            if self._detached or is_ours(span) or not (semconv.RUN_ID in marks or semconv.STAGE_SPAN_ID in marks):
                return
            log = self._logs.get(str(marks.get(semconv.RUN_ID))) or self._elsewhere(span)
            log.add_foreign(from_readable(span))
            if log.run_id in self._ended:
                self._late(log)
        except Exception:  # noqa: BLE001 # would reach the pipeline
            internal_error("filing a span")

    def _elsewhere(self, span: ReadableSpan) -> RunLog:
        """Give the log for a span of a run that another process began, or that was let go of."""
        record = from_readable(span)
        run_id = record.attributes.get(semconv.RUN_ID)
        return self._joined(run_id if isinstance(run_id, str) else "", record.trace_id)


def is_ours(span: ReadableSpan) -> bool:
    """Tell whether ire-otel itself made a span."""
    made_by = span.instrumentation_scope
    return made_by is not None and made_by.name == semconv.SCOPE


def _ambient_marks() -> dict[str, str] | None:
    place = scope.current()
    if place is None or not place.trace.recording:
        return None
    marks = {semconv.RUN_ID: place.trace.trace_id, semconv.STAGE_SPAN_ID: place.stage_span_id}
    return {key: value for key, value in marks.items() if value}


def _parent_marks(parent_context: Context | None) -> dict[str, str] | None:
    attributes: Any = getattr(get_current_span(parent_context), "attributes", None) or {}
    carried = {
        semconv.RUN_ID: attributes.get(semconv.RUN_ID) or baggage.get_baggage(semconv.BAGGAGE_RUN, parent_context),
        semconv.STAGE_SPAN_ID: attributes.get(semconv.STAGE_SPAN_ID)
        or baggage.get_baggage(semconv.BAGGAGE_STAGE, parent_context),
    }
    return {key: value for key, value in carried.items() if isinstance(value, str)} if carried[semconv.RUN_ID] else None


_ATTRIBUTES: Final = 4
"""Place of the span's attributes among the arguments of should_sample."""


class RunSampler(Sampler):
    """Another sampler, except that spans inside a run are at least recorded: sampling never thins out a run."""

    def __init__(self, inner: Sampler) -> None:
        """`inner` goes on deciding what is sampled, and so what other exporters get."""
        self.inner = inner

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        """Ask the inner sampler; inside a run, turn DROP into RECORD_ONLY."""
        result = self.inner.should_sample(*args, **kwargs)
        if result.decision is not Decision.DROP or _ambient_marks() is None:
            return result
        # What a sampler drops it gives no attributes, and the span would start without its own.
        started_with = kwargs.get("attributes") if len(args) <= _ATTRIBUTES else args[_ATTRIBUTES]
        attributes = {**(started_with or {}), **(result.attributes or {})}
        return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)

    def get_description(self) -> str:
        """Name both."""
        return f"RunSampler({self.inner.get_description()})"


def keeps_everything(sampler: Sampler) -> bool:
    """Tell whether a provider's sampler drops nothing; tracers handed out before we came keep that one, unwrapped."""
    inner = sampler.inner if isinstance(sampler, RunSampler) else sampler
    return _description(inner) in {_description(ALWAYS_ON), _description(DEFAULT_ON)}


def _description(sampler: Any) -> str:
    """Give what a sampler is known by: OpenTelemetry makes the default one anew for every provider."""
    return str(sampler.get_description())


_attached: list[RunProcessor] = []
_count = [0]


def attach(processor: RunProcessor, provider: TracerProvider, *, writes: bool) -> None:
    """Put a processor into a provider and wrap the provider's sampler; writes: whether its runs become documents."""
    provider.add_span_processor(processor)
    if not isinstance(provider.sampler, RunSampler):
        provider.sampler = RunSampler(provider.sampler)
    if writes:
        _attached.append(processor)
        _count[0] += 1


def detach(processor: RunProcessor) -> None:
    """Forget a processor, which does nothing from now on."""
    processor.detach()
    while processor in _attached:
        _attached.remove(processor)


def attachments() -> int:
    """Give how many RunProcessors that have runs written were ever attached in this process."""
    return _count[0]


def in_charge(since: int) -> bool:
    """Tell whether a RunProcessor has runs written in this process, so that exporters made by others stay passive.

    since: `attachments()` when the exporter was made. One that was attached since has written its runs, though it is
    gone by now: at exit the application's provider flushes after ire-otel has stopped.
    """
    return bool(_attached) or attachments() > since
