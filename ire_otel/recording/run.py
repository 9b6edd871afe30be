"""A run, while it is open: the object that `run(...)` and `TraceContext.start` give."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, get_current_span

from ire_otel import semconv
from ire_otel.recording.calls import StageCalls, recorded, with_unknown
from ire_otel.recording.component import name_of
from ire_otel.recording.guard import guarded, warn_once
from ire_otel.recording.live import LiveView
from ire_otel.recording.noop import NOOP_STAGE
from ire_otel.recording.process import Clock, date_of, identity, next_seq
from ire_otel.recording.scope import Scope, context_of, current, enter, leave, parent_context
from ire_otel.recording.span import (
    Block,
    RecordedSpan,
    described,
    parent_span_id,
    safe_name,
    well_formed_attributes,
)
from ire_otel.recording.stage import ClosedStage, Stage
from ire_otel.values import attribute, dumps

if TYPE_CHECKING:
    from concurrent.futures import Future

    from opentelemetry.trace import Tracer

    from ire_otel.model import RunStatus
    from ire_otel.recording.host import Host
    from ire_otel.records import ExportOutcome
    from ire_otel.runlog import RunLog

UNSTAGED: Final = "run"
"""The stage of decisions that are taken in a run but in no stage."""


class _Field:
    """A fact about the run that may be learnt on the way: `trace.intent = "validating"`."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __get__(self, run: Trace, owner: type[Trace] | None = None) -> str | None:
        return run.about.get(self.key)

    def __set__(self, run: Trace, value: str | None) -> None:
        run.learn(self.key, value)


class Trace(RecordedSpan, LiveView, Block):
    """One research run: a span, its log of entries, and the context that everything inside it belongs to.

    As a context manager (`with` or `async with`) it ends where the block is left, and never waits for files or rows.
    """

    __slots__ = (
        "_attempts",
        "_error",
        "_first_end",
        "_host",
        "_open",
        "_report_path",
        "about",
        "before",
        "clock",
        "completed_ns",
        "context",
        "enclosing",
        "gate",
        "log",
        "outcome",
        "outputs_given",
        "overhead_ns",
        "process",
        "project_name",
        "status",
        "trace_id",
        "tracer",
    )

    query = _Field(semconv.RUN_QUERY)
    intent = _Field(semconv.RUN_INTENT)
    domain = _Field(semconv.RUN_DOMAIN)
    report_type = _Field(semconv.RUN_REPORT_TYPE)
    research_type = _Field(semconv.RUN_RESEARCH_TYPE)
    project_id = _Field(semconv.PROJECT_ID)

    about: dict[str, Any]
    clock: Clock
    log: RunLog
    process: str
    project_name: str | None
    tracer: Tracer

    def __init__(self, host: Host, project_name: str | None, about: dict[str, Any], *, new_trace: bool) -> None:
        """Start the run's span; `ire_otel.run` is the way to one. `about` holds attributes; None is left out."""
        enclosing = current()
        parent = enclosing.trace if enclosing is not None and enclosing.trace.recording else None
        self.clock = parent.clock if parent else host.clock()
        self.tracer = host.tracer()
        self.process = identity.id
        self.project_name = project_name
        self.about = {key: value for key, value in about.items() if value is not None}
        self._host = host
        self.before = get_current()
        self.enclosing: Scope | None = enclosing
        around = self.before if enclosing is None else parent_context(enclosing, self.before)
        self._start(parent, Context() if new_trace else around, _links(around) if new_trace else [])
        self.context = context_of(self, self.otel_span, self.trace_id, None)
        self.status: RunStatus = "in_progress"
        self.completed_ns: int | None = None
        self.overhead_ns = 0
        self.outcome: Future[ExportOutcome | None] | None = None
        self.outputs_given = False
        self.gate: dict[str, Any] = {}
        self._error: str | None = None
        self._report_path: str | None = None
        self._first_end = threading.Lock()
        self._attempts: dict[str, int] = {}
        self._open: dict[str, Stage] = {}
        host.opened(self)
        if parent:
            parent.event("child_run", self._as_child())

    def _start(self, parent: Trace | None, around: Context, links: list[Link]) -> None:
        """Start the span and begin the log."""
        start_ns = self.clock()
        given = {
            semconv.PROCESS: self.process,
            semconv.PROJECT_NAME: self.project_name,
            semconv.RUN_FOREIGN_SPANS: self._host.foreign_spans,
            semconv.RUN_PARENT_ID: (parent.trace_id or None) if parent else None,
            semconv.RUN_STATUS: "in_progress",
            semconv.SCHEMA: semconv.SCHEMA_VERSION,
            **self.about,
        }
        given = well_formed_attributes({key: value for key, value in given.items() if value is not None})
        name = self._span_name()
        mirrored = self._host.mirrors()
        shown = given if mirrored else None
        otel_span = self.tracer.start_span(name, around, attributes=shown, start_time=start_ns, links=links)
        super().__init__(otel_span, self.clock, start_ns, mirrored=mirrored)
        self.trace_id = f"trc_{date_of(start_ns)}_{self.span_id}"
        otel_span.set_attribute(semconv.RUN_ID, self.trace_id)
        self.log = self._host.log(self.trace_id, self.trace_id_hex)
        linked = [(format(link.context.trace_id, "032x"), format(link.context.span_id, "016x")) for link in links]
        self.begin(self.log, name, parent_span_id(around), {**given, semconv.RUN_ID: self.trace_id}, linked)

    @property
    def trace(self) -> Trace:
        """The run itself, as stages have theirs; no attribute, so that a run is no cycle for the collector to find."""
        return self

    @property
    def stage_span_id(self) -> str | None:
        """None: a run is no stage."""
        return None

    @property
    def recording(self) -> bool:
        """False for the trace of a project with tracing off."""
        return True

    @property
    def finish_timeout(self) -> float:
        """Seconds that `finish` waits for file and row."""
        return self._host.settings.finish_timeout

    @property
    def error(self) -> str | None:
        """What ended the run, if it failed or was cut short."""
        return self._error

    @recorded("setting a fact of a run")
    def learn(self, key: str, value: Any) -> None:
        """Set a fact about the run under its attribute name."""
        chosen = attribute(value)
        self.about[key] = chosen
        self.set({key: chosen})
        if key == semconv.RUN_REPORT_TYPE and not self.ended:
            self.otel_span.update_name(self._span_name())

    def _span_name(self) -> str:
        report_type = self.about.get(semconv.RUN_REPORT_TYPE)
        return safe_name(f"{semconv.RUN_SPAN} {report_type}" if report_type else semconv.RUN_SPAN)

    def _as_child(self) -> dict[str, Any]:
        given = {
            semconv.CHILD_ID: self.trace_id,
            semconv.CHILD_OUTPUT_TYPE: self.about.get(semconv.RUN_OUTPUT_TYPE),
            semconv.CHILD_PATH: self._report_path,
            semconv.SEQ: next_seq(),
        }
        return {key: value for key, value in given.items() if value is not None}

    # -- recording ----------------------------------------------------------------------------------------------------

    def event(self, name: str, attributes: dict[str, Any], time_ns: int | None = None) -> None:
        """Record an event on the run span."""
        super().event(name, attributes, time_ns)
        self.changed()

    def elsewhere(self, name: str, attributes: dict[str, Any]) -> None:
        """Record, in a forked child, what is said of a run that its parent has open."""
        from ire_otel.recording.joined import note  # which builds on runs

        note(self, None, self.context, name, attributes)

    def set(self, attributes: dict[str, Any]) -> None:
        """Set attributes of the run span."""
        super().set(attributes)
        self.changed()

    def changed(self) -> None:
        """Learn that something was recorded; after the run's end, the document is written again for it."""
        if self.ended and self.owned:
            self._host.late(self.log)

    def put_stage_facts(self, stage: str, attributes: dict[str, Any]) -> None:
        """Record facts of a stage that is not open, as an event on the run span."""
        given = {key: value for key, value in attributes.items() if value is not None}
        name = safe_name(f"{semconv.STAGE_FACTS_EVENT_PREFIX}{stage}")
        self.event(name, {**given, semconv.SEQ: next_seq(), semconv.STAGE_NAME: stage})

    @guarded("starting a stage", lambda: NOOP_STAGE)
    def start_stage(self, stage_name: str, *, component: Any = None) -> Stage:
        """Start a stage and make it current until its `end_stage`; gives the stage, which is a context manager too."""
        scope = current()
        enclosing = scope if scope is not None and scope.trace is self else self
        name = _name(stage_name)
        attempt = self._attempts[name] = self._attempts.get(name, 0) + 1
        stage = Stage(self, name, name_of(component), enclosing, attempt)
        self._open[stage.span_id] = stage
        enter(stage)
        return stage

    @recorded("ending a stage")
    def end_stage(self, stage_name: str, outputs: Any = None, error: BaseException | str | None = None) -> None:
        """End the stage of that name that was started last and is still open."""
        stage = self.stage_calls(stage_name)
        if isinstance(stage, Stage):
            stage.end_stage(outputs, error)
            return
        warn_once("end_stage(%r) in run %s: no such stage is open; start_stage comes first", stage_name, self.trace_id)
        text = described(error) if isinstance(error, BaseException) else attribute(error)
        stage.put_facts({semconv.STAGE_OUTPUTS: attribute(outputs), semconv.STAGE_ERROR: text})

    def stage_calls(self, stage_name: str) -> StageCalls:
        """Give the stage of that name: the one we are in, else the one started last that is open, else a closed one."""
        stage_name = _name(stage_name)
        scope = current()
        while scope is not None:
            if isinstance(scope, Stage) and scope.name == stage_name and scope.trace is self and not scope.ended:
                return scope
            scope = scope.enclosing
        for stage in reversed(tuple(self._open.values())):
            if stage.name == stage_name:
                return stage
        return ClosedStage(self, stage_name, self._attempts.get(stage_name, 1))

    def open_stage(self, span_id: str | None) -> Stage | None:
        """Give the open stage whose span that is."""
        return self._open.get(span_id) if span_id is not None else None

    def stage_ended(self, stage: Stage) -> None:
        """Learn that a stage of this run has ended."""
        self._open.pop(stage.span_id, None)
        self.changed()
        if stage.gate:
            self.gate = {key: value for key, value in stage.gate.items() if key != semconv.GATE_THRESHOLD}

    @recorded("recording a decision")
    def record(self, stage_name: str, decision_type: str, data: Mapping[str, Any] | None = None) -> None:
        """Record a decision of a stage, open or not, in the SPEC's form.

        `data` may hold what, why, confidence (0 to 1), alternatives_considered, inputs and component.
        """
        stage = self.stage_calls(stage_name)
        given = dict(_mapping(data, "what"))
        known = {key: given.pop(key, None) for key in ("what", "why", "confidence", "inputs")}
        options = given.pop("alternatives_considered", None)
        options = given.pop("alternatives", None) if options is None else options
        component = name_of(given.pop("component", None)) or stage.decider(3)
        inputs = with_unknown(decision_type, known["inputs"] or {}, given) if given else known["inputs"]
        stage.put_decision(
            decision_type, known["what"], known["why"], known["confidence"], options, inputs, component
        )  # fmt: skip

    @recorded("recording evidence")
    def record_evidence(self, stage_name: str, evidence_data: Mapping[str, Any]) -> None:
        """Record what a stage collected: collected_count, by_source, query_terms_used, kept, filtered_out."""
        self.stage_calls(stage_name).evidence_as_given(_mapping(evidence_data))

    @recorded("recording prompts")
    def record_prompts(self, stage_name: str, prompts: Mapping[str, Any]) -> None:
        """Record a stage's full prompt texts: system_prompt, user_message."""
        self.stage_calls(stage_name).prompts_as_given(_mapping(prompts, "prompt"))

    @recorded("recording an iteration")
    def record_iteration(self, iteration_data: Mapping[str, Any]) -> None:
        """Record one pass of a retry loop: iteration, quality_gate_result, overall_score, gaps, and whatever else."""
        fields = _mapping(iteration_data)
        name = safe_name(f"iteration {fields.get('iteration', '')}".strip())
        self.event(name, {semconv.ITERATION: dumps(fields), semconv.SEQ: next_seq()})

    @recorded("recording outputs")
    def set_outputs(self, outputs: Mapping[str, Any]) -> None:
        """Record the run's outputs: report_path, evidence_paths, … A later call replaces an earlier one."""
        self.outputs_given = True
        given = _mapping(outputs)
        path = attribute(given.get("report_path"))
        self._report_path = path if isinstance(path, str) else None
        self.set({semconv.RUN_OUTPUTS: dumps(given)})

    # -- its end ------------------------------------------------------------------------------------------------------

    @recorded("marking a run")
    def mark_complete(self) -> None:
        """Mark the run as successful. One that was marked as failed stays so."""
        self._mark("complete", None)

    @recorded("marking a run")
    def mark_failed(self, error: str | BaseException) -> None:
        """Mark the run as failed; this wins over any other mark."""
        self._mark("failed", error)

    @recorded("marking a run")
    def mark_incomplete(self, error: str | BaseException | None = None) -> None:
        """Mark the run as cut short: what it recorded is partial."""
        self._mark("incomplete", error)

    def _mark(self, status: RunStatus, error: object) -> None:
        if self.status == "failed" and status != "failed":
            return
        if isinstance(error, BaseException):
            error = described(error)
        self.status = status
        self.completed_ns = self.clock()
        text = attribute(error)
        self._error = None if text is None else str(text)
        self.set({semconv.RUN_STATUS: status, semconv.RUN_ERROR: self._error})

    @recorded("ending a run")
    def end_run(self, error: BaseException | None = None, *, unmarked: RunStatus = "complete") -> None:
        """End the run and hand it over. `unmarked` is the status of a run that nobody marked and no error ended."""
        if not self.owned or not self._first_end.acquire(blocking=False):
            return
        try:
            self._record_end(error, unmarked)
        finally:
            self.ended = True
            self.context = self.before
            self.outcome = self._host.closed(self.log)
        parent = self.enclosing.trace if self.enclosing is not None else None
        if parent is not None and parent.recording and self._report_path:
            parent.event("child_run", self._as_child())

    def _record_end(self, error: BaseException | None, unmarked: RunStatus) -> None:
        leave(self)
        self._end_open_stages(error)
        leave(self)
        if isinstance(error, BaseException):
            if self.status != "failed":
                self._mark("incomplete", error)
            self.exception(error)
        elif self.status == "in_progress":
            self._mark(unmarked, None)
        end_ns = self.completed_ns = self.clock()
        self.set({semconv.RUN_OVERHEAD_MS: round(self.overhead_ns / 1e6, 3), **self.gate})
        failed = error is not None or self.status == "failed"
        self.end("ERROR" if failed else "UNSET", self._error if failed else None, end_ns)

    def _end_open_stages(self, error: BaseException | None) -> None:
        for stage in reversed(tuple(self._open.values())):
            if error is None:
                stage.set({semconv.WARNING: f"stage {stage.name} was still open when the run ended"})
            stage.end_stage(error=None if error is None else described(error))

    def leave_block(self, error: BaseException | None) -> None:
        """End the run where its block is left."""
        self.end_run(error)


def _name(stage_name: Any) -> str:
    """Give the name that a pipeline means: a text, or an Enum's value."""
    return stage_name if type(stage_name) is str else str(attribute(stage_name))


def _mapping(given: Any, key: str = "value") -> Mapping[str, Any]:
    """Take whatever a pipeline passes where a mapping belongs."""
    return given if isinstance(given, Mapping) else {key: given}


def _links(context: Context) -> list[Link]:
    span_context = get_current_span(context).get_span_context()
    return [Link(span_context)] if span_context.is_valid else []
