"""Stages: one that is open (a span, and the current place of decisions), and one that is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import get_current

from ire_otel import semconv
from ire_otel.recording import facts
from ire_otel.recording.calls import StageCalls, recorded
from ire_otel.recording.scope import Scope, context_of, leave, parent_context
from ire_otel.recording.span import (
    Block,
    RecordedSpan,
    described,
    parent_span_id,
    safe_name,
    well_formed_attributes,
)
from ire_otel.values import attribute, dumps

if TYPE_CHECKING:
    from ire_otel.recording.run import Trace


class Stage(RecordedSpan, StageCalls, Block):
    """One attempt of a stage: what `stage(...)` and `Trace.start_stage` give.

    As a context manager (`with` or `async with`) it ends where the block is left; an exception is recorded and goes on.
    """

    __slots__ = ("_scores", "_usage", "attempt", "before", "component", "context", "enclosing", "gate", "name",
                 "outputs_given", "trace")  # fmt: skip

    def __init__(self, run: Trace, name: str, component: str | None, enclosing: Scope, attempt: int) -> None:
        """Start the stage's span inside `enclosing`; `Trace.start_stage` is the way to one."""
        start_ns = run.clock()
        given = {
            semconv.PROCESS: run.process,
            semconv.PROJECT_NAME: run.project_name,
            semconv.RUN_ID: run.trace_id or None,
            semconv.RUN_INTENT: run.intent,
            semconv.RUN_REPORT_TYPE: run.report_type,
            semconv.STAGE_ATTEMPT: attempt,
            semconv.STAGE_COMPONENT: component,
            semconv.STAGE_NAME: name,
        }
        given = {key: value for key, value in given.items() if value is not None}
        span_name = safe_name(name if attempt == 1 else f"{name} #{attempt}")
        self.before = get_current()
        parent = parent_context(enclosing, self.before)
        given = well_formed_attributes(given)
        shown = given if run.mirrored else None
        otel_span = run.tracer.start_span(span_name, parent, attributes=shown, start_time=start_ns)
        super().__init__(otel_span, run.clock, start_ns, mirrored=run.mirrored)
        self.trace = run
        self.name = name
        self.attempt = attempt
        self.component = component
        self.enclosing = enclosing
        self.gate: dict[str, Any] = {}
        self.outputs_given = False
        self._usage: dict[str, Any] = {}
        self._scores: dict[str, float] = {}
        self.begin(run.log, span_name, parent_span_id(parent), given, [])
        self.context = context_of(self, otel_span, run.trace_id, self.span_id)

    @property
    def stage_span_id(self) -> str | None:
        """The id of its span."""
        return self.span_id

    def elsewhere(self, name: str, attributes: dict[str, Any]) -> None:
        """Record, in a forked child, what is said of a stage that its parent has open."""
        from ire_otel.recording.joined import note  # which builds on stages

        note(self.trace, self.span_id, self.context, name, {**attributes, semconv.STAGE_NAME: self.name})

    def put_event(self, name: str, attributes: dict[str, Any]) -> None:
        """Record an event on this stage's span, or on the run's once the stage has ended."""
        if self.ended:
            self.trace.event(name, attributes)
            return
        if name is semconv.SCORE_EVENT and semconv.SCORE_VALUE in attributes:
            self._scores[attributes[semconv.SCORE_ID]] = attributes[semconv.SCORE_VALUE]
        self.event(name, attributes)

    def put_facts(self, attributes: dict[str, Any]) -> None:
        """Set attributes of this stage's span, or of an event on the run's once the stage has ended."""
        if self.ended:
            self.trace.put_stage_facts(self.name, attributes)
            return
        self.outputs_given |= semconv.STAGE_OUTPUTS in attributes
        self.gate.update({key: attributes[key] for key in _VERDICT if attributes.get(key) is not None})
        self.set(attributes)

    def added_up(self, usage: dict[str, Any]) -> dict[str, Any]:
        """Add what this stage reported before."""
        for key, number in usage.items():
            if number is not None:
                self._usage[key] = self._usage.get(key, 0) + number
        return dict(self._usage)

    @recorded("ending a stage")
    def end_stage(self, outputs: Any = None, error: BaseException | str | None = None) -> None:
        """End the stage and make what was around it current again. Ending it twice does no harm."""
        if not self.owned:
            return
        leave(self)
        try:
            self._record_end(outputs, error)
        finally:
            self.context = self.before  # it holds this stage: without it there is no cycle for the collector to find
            self.trace.stage_ended(self)

    def _record_end(self, outputs: Any, error: BaseException | str | None) -> None:
        if outputs is not None:
            self.put_facts({semconv.STAGE_OUTPUTS: attribute(outputs)})
        if isinstance(error, BaseException):
            self.exception(error)
        text = described(error) if isinstance(error, BaseException) else attribute(error)
        if not self.ended:
            self.set({**self._verdict(outputs), semconv.STAGE_ERROR: text})
        self.end("UNSET" if text is None else "ERROR", None if text is None else str(text), self.trace.clock())

    def _verdict(self, outputs: Any) -> dict[str, Any]:
        """Sum up scores and verdict as attributes that a search finds; the events stay the truth."""
        scores = {f"{semconv.SCORE_PREFIX}{principle}": value for principle, value in self._scores.items()}
        gaps = sorted(principle for principle, value in self._scores.items() if value < semconv.GAP_BELOW)
        if self._scores:
            self.gate[semconv.GATE_GAPS] = dumps(gaps)
        stated = facts.verdict(outputs) if isinstance(outputs, dict) else {}
        self.gate = {**{key: value for key, value in stated.items() if value is not None}, **self.gate}
        return {**scores, **self.gate}

    def leave_block(self, error: BaseException | None) -> None:
        """End the stage where its block is left."""
        self.end_stage(error=error)


_VERDICT = (semconv.GATE_PASSED, semconv.GATE_OVERALL_SCORE, semconv.GATE_THRESHOLD)


class ClosedStage(StageCalls):
    """A stage that is not open now, or was never started: what is said of it sits on the run span, under its name."""

    __slots__ = ("attempt", "component", "name", "trace")

    def __init__(self, run: Trace, name: str, attempt: int) -> None:
        """`attempt` is the last one that was started, 1 if none was."""
        self.trace = run
        self.name = name
        self.attempt = attempt
        self.component = None

    def put_event(self, name: str, attributes: dict[str, Any]) -> None:
        """Record an event of this stage on the run span."""
        self.trace.event(name, attributes)

    def put_facts(self, attributes: dict[str, Any]) -> None:
        """Record facts of this stage as an event on the run span."""
        self.trace.put_stage_facts(self.name, attributes)
