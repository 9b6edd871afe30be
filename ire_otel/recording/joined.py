"""This process's part in a run that another process began.

The run arrives as OpenTelemetry baggage, as TRACEPARENT in the environment, or by a fork. Stages that begin here are
spans as ever. What is said of the run itself, or of a stage that is open over there, cannot be put on a span of another
process: it becomes a short span of its own, a *note*, which carries the event and is marked with the run and the stage.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, get_current
from opentelemetry.trace import NonRecordingSpan, SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ire_otel import semconv, settings
from ire_otel.recording import scope
from ire_otel.recording.calls import StageCalls
from ire_otel.recording.host import host
from ire_otel.recording.process import anchored_clock, identity
from ire_otel.recording.run import UNSTAGED, Trace
from ire_otel.recording.scope import Scope
from ire_otel.recording.span import RecordedSpan, parent_span_id, well_formed_attributes
from ire_otel.recording.stage import Stage

if TYPE_CHECKING:
    from ire_otel.recording.host import Host
    from ire_otel.runlog import RunLog

BEGUN_ELSEWHERE: Final = ""
"""Stands for the process that began a run; it is not this one, and which it is nobody says."""


class JoinedRun(Trace):
    """A run that another process began and ends, as far as this process takes part in it."""

    __slots__ = ("around",)

    def __init__(self, configured: Host, run_id: str, around: Context) -> None:
        """run_id: empty where only the OpenTelemetry trace is known. around: the context that the run arrived with."""
        remote = get_current_span(around).get_span_context()
        self.clock = anchored_clock()
        RecordedSpan.__init__(
            self, NonRecordingSpan(remote), self.clock, self.clock(), mirrored=configured.mirrors()
        )  # fmt: skip
        self._process = BEGUN_ELSEWHERE
        self.span_id = run_id.rpartition("_")[2]
        self.trace_id = run_id
        self.around = around
        self.before = self.context = around
        self.enclosing: Scope | None = None
        self.process = identity.id
        self.project_name = None
        self.about: dict[str, Any] = {}
        self.status = "in_progress"
        self.completed_ns = None
        self.overhead_ns = 0
        self.outcome = None
        self.outputs_given = False
        self.gate: dict[str, Any] = {}
        self._host = configured
        self.tracer = configured.tracer()
        self._error = self._report_path = None
        self._first_end = threading.Lock()
        self._attempts: dict[str, int] = {}
        self._open: dict[str, Stage] = {}

    @property
    def log(self) -> RunLog:  # type: ignore[override] # a joined run's log may be begun anew at any time
        """The log of this process's part."""
        return self._host.joined_log(self.trace_id, self.trace_id_hex)

    def elsewhere(self, name: str, attributes: dict[str, Any]) -> None:
        """Record what is said of the run itself."""
        note(self, None, self.around, name, attributes)


class JoinedPlace(StageCalls):
    """Where we are in such a run: in a stage that is open in the other process, or in none."""

    __slots__ = ("attempt", "component", "context", "name", "stage_span_id", "trace")
    silent: bool = False

    def __init__(self, run: JoinedRun, context: Context, stage_span_id: str | None, stage: Stage | None) -> None:
        """stage: the one that was open when this process was forked; what it is called is else not known here."""
        self.trace = run
        self.context = context
        self.stage_span_id = stage_span_id
        known_to_be_none = stage_span_id is None and run.trace_id
        self.name = stage.name if stage is not None else UNSTAGED if known_to_be_none else ""
        self.attempt = stage.attempt if stage is not None else 1
        self.component = stage.component if stage is not None else None

    @property
    def ended(self) -> bool:
        """False: when it ends over there is not known here."""
        return False

    @property
    def enclosing(self) -> Scope | None:
        """None: what is around it is over there."""
        return None

    @property
    def span_id(self) -> str:
        """The id of the stage's span, or the run's."""
        return self.stage_span_id or self.trace.span_id

    @property
    def before(self) -> Context:
        """The context itself: nothing here is entered or left."""
        return self.context

    def put_event(self, name: str, attributes: dict[str, Any]) -> None:
        """Record an event of this place."""
        if not self.name:  # the mark on the note, or its parent, says which stage; whoever assembles it knows that one
            attributes.pop(semconv.STAGE_NAME, None)
            attributes.pop(semconv.STAGE_ATTEMPT, None)
        note(self.trace, self.stage_span_id, self.context, name, attributes)

    def put_facts(self, attributes: dict[str, Any]) -> None:
        """Record facts of this place."""
        given = {key: value for key, value in attributes.items() if value is not None}
        if self.name:
            given[semconv.STAGE_NAME] = self.name
        note(self.trace, self.stage_span_id, self.context, f"{semconv.STAGE_FACTS_EVENT_PREFIX}{self.name}", given)


def note(
    run: Trace, stage_span_id: str | None, around: Context, name: str, attributes: dict[str, Any]
) -> None:  # fmt: skip
    """Record an event as a span of its own, marked with run and stage."""
    run = run if isinstance(run, JoinedRun) else part_of(run)
    marks = {semconv.PROCESS: identity.id, semconv.RUN_ID: run.trace_id, semconv.STAGE_SPAN_ID: stage_span_id}
    given = well_formed_attributes({key: value for key, value in marks.items() if value})
    moment = run.clock()
    shown = given if run.mirrored else None
    otel_span = run.tracer.start_span(name, around, attributes=shown, start_time=moment)
    span = _Note(otel_span, run.clock, moment, mirrored=run.mirrored)
    span.begin(run.log, name, parent_span_id(around), given, [])
    span.event(name, attributes, moment)
    span.end("UNSET", None, moment)


class _Note(RecordedSpan):
    """The span of a note."""

    __slots__ = ()


_parts: dict[tuple[str, str, str], JoinedRun] = {}
"""By process, run id and OpenTelemetry trace id."""


def part_of(run: Trace) -> JoinedRun:
    """Give this process's part of a run that it inherited when it was forked."""
    return _part(run.trace_id, run.context)


def forget(run_id: str, trace_id: str) -> None:
    """Let go of a run whose other process has not been heard of for a while; it may come again."""
    _parts.pop((identity.id, run_id, trace_id), None)


def _part(run_id: str, around: Context) -> JoinedRun:
    trace_id = format(get_current_span(around).get_span_context().trace_id, "032x")
    key = identity.id, run_id, trace_id
    known = _parts.get(key)
    if known is None:
        known = _parts.setdefault(key, JoinedRun(host(), run_id, around))
    return known


def find(inherited: Scope | None) -> Scope | None:
    """Give the place in a run of another process, or of this one, that the current context names; None without one."""
    if inherited is not None:
        run = inherited.trace
        if not run.recording:
            return inherited
        stage = inherited if isinstance(inherited, Stage) else None
        return JoinedPlace(part_of(run), inherited.context, inherited.stage_span_id, stage)
    around = _arrived()
    if around is None:
        return None
    run_id = _text(baggage.get_baggage(semconv.BAGGAGE_RUN, around))
    stage_span_id = _text(baggage.get_baggage(semconv.BAGGAGE_STAGE, around))
    configured = host()
    ours = configured.open_run(run_id) if run_id else None
    if ours is not None:
        return ours.open_stage(stage_span_id) or ours
    if not configured.records(None):
        return None
    return JoinedPlace(_part(run_id or "", around), around, stage_span_id, None)


def _arrived() -> Context | None:
    """Give the context that names a run: the current one, or that of the environment where the current one is empty."""
    now = get_current()
    span_context = get_current_span(now).get_span_context()
    if baggage.get_baggage(semconv.BAGGAGE_RUN, now) is not None and span_context.is_valid:
        return now
    return None if span_context.is_valid else _of_environment()


_environment: dict[str, Context | None] = {}


def _of_environment() -> Context | None:
    """Give the context that the process was started with (TRACEPARENT, TRACESTATE, BAGGAGE); read once."""
    if identity.id not in _environment:
        carrier = settings.carried_context()
        around = W3CBaggagePropagator().extract(carrier, TraceContextTextMapPropagator().extract(carrier, Context()))
        remote: SpanContext = get_current_span(around).get_span_context()
        _environment[identity.id] = around if remote.is_valid else None
    return _environment[identity.id]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


scope.look_elsewhere(find)
