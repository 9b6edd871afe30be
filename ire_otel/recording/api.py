"""The functions and the SPEC-style class that pipelines call; all of them work on the same Trace and Stage objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent import futures
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, cast

from ire_otel import semconv
from ire_otel.recording import joined, noop, scope
from ire_otel.recording.calls import StageCalls, with_unknown
from ire_otel.recording.component import caller, calling, name_of
from ire_otel.recording.guard import internal_error, warn_once
from ire_otel.recording.host import host
from ire_otel.recording.run import UNSTAGED, Trace
from ire_otel.recording.scope import is_silent
from ire_otel.recording.stage import ClosedStage, Stage
from ire_otel.values import attribute

if TYPE_CHECKING:
    from ire_otel.records import ExportOutcome


_REMEDY: Final = "open a run first, or carry its OpenTelemetry context to this thread"


def run(  # what a run is about
    query: str | None = None,
    *,
    project_name: str | None = None,
    project_id: str | None = None,
    intent: str | None = None,
    domain: str | None = None,
    report_type: str | None = None,
    research_type: str | None = None,
    output_type: str | None = None,
    enabled: bool = True,
    new_trace: bool = False,
) -> Trace:
    """Start a run and make it current; a block (`with` or `async with`) ends it.

    query: what is asked.
    project_name, project_id: the project; its name chooses the folder of the trace file.
    intent, domain, report_type, research_type: what kind of run; all of these may also be set on the way.
    output_type: what a run inside another makes, e.g. `report`.
    enabled: False gives a run that records nothing, as `[projects.<name>] enabled = false` does.
    new_trace: True begins an OpenTelemetry trace of its own, linked to the current one, instead of continuing that.
    """
    try:
        configured = host() if enabled else None
        name = None if project_name is None else str(attribute(project_name))
        if configured is not None and configured.records(name):
            about = {
                semconv.RUN_QUERY: query,
                semconv.RUN_INTENT: intent,
                semconv.RUN_DOMAIN: domain,
                semconv.RUN_REPORT_TYPE: report_type,
                semconv.RUN_RESEARCH_TYPE: research_type,
                semconv.RUN_OUTPUT_TYPE: output_type,
                semconv.PROJECT_ID: project_id,
            }
            values = {key: attribute(value) for key, value in about.items()}
            trace = Trace(configured, name, values, new_trace=new_trace)
            scope.enter(trace)
            return trace
    except Exception:  # noqa: BLE001 # tracing must never break the run it watches
        internal_error("starting a run")
    return cast("Trace", noop.disabled())


def stage(stage_name: str, *, component: Any = None) -> Stage:
    """Start a stage of the current run and make it current; a block (`with` or `async with`) ends it.

    component: what takes the stage's decisions, where a decision does not say.
    """
    if is_silent():
        return cast("Stage", noop.NOOP_STAGE)
    current = current_run()
    if current is None:
        warn_once("stage(%r) outside a run is not recorded; %s", stage_name, _REMEDY)
        return cast("Stage", noop.NOOP_STAGE)
    return current.start_stage(stage_name, component=component)


def decide(  # the fields of a decision
    decision: str,
    *,
    what: Any = None,
    why: str = "",
    confidence: float | None = None,
    alternatives: Sequence[Any] = (),
    inputs: Mapping[str, Any] | None = None,
    component: Any = None,
    stage: str | None = None,
    **unknown: Any,
) -> None:
    """Record a decision in the current stage.

    decision: what kind of decision, e.g. `classified_intent`.
    what: the option taken; why: the reason, in words (may hold Markdown).
    confidence: probability that the choice is right, 0 to 1; None where none was given.
    alternatives: the options not taken; inputs: what the choice was made from, by name.
    component: a name or a TracingComponent; else the TracingComponent whose method calls, else the stage's component,
        else the calling function.
    stage: the stage it belongs to, if not the current one; that stage need not be open.

    Outside a run it warns once and does nothing. It never raises, and what is changed after the call changes nothing.
    """
    began = perf_counter_ns()
    place = scope.current()
    if place is None:
        warn_once("decide(%r) outside a run is not recorded; %s", decision, _REMEDY)
        return
    trace = place.trace
    if not trace.recording:
        return
    try:
        calls = place_of(place, stage)
        if unknown:
            inputs = with_unknown(decision, inputs, unknown)
        decider = name_of(component)
        if decider is None:
            decider, is_component = calling(caller(1))
            if not is_component and calls.component is not None:
                decider = calls.component
        calls.put_decision(decision, what, why, confidence, alternatives, inputs, decider)
    except Exception:  # noqa: BLE001 # tracing must never break the run it watches
        internal_error("recording a decision")
    trace.overhead_ns += perf_counter_ns() - began


def place_of(place: scope.Scope, stage_name: str | None) -> StageCalls:
    """Give the stage that a decision at `place` belongs to."""
    if stage_name is not None:
        return place.trace.stage_calls(stage_name)
    return place if isinstance(place, Stage | joined.JoinedPlace) else ClosedStage(place.trace, UNSTAGED, 1)


def current_run() -> Trace | None:
    """Give the innermost run that is open here, None outside a run."""
    place = scope.current()
    return None if place is None else place.trace


def current_stage() -> Stage | None:
    """Give the innermost stage that is open here, None outside a stage."""
    place = scope.current()
    if isinstance(place, joined.JoinedPlace) and place.stage_span_id is not None:
        return cast("Stage", place)  # all that can be said of a stage; who opened it ends it
    return place if isinstance(place, Stage) else None


def finish_sync(trace: Trace) -> dict[str, Any]:
    """End a run and wait until file and row were tried, at most `finish_timeout`; gives what became of them.

    Keys: `trace_id`; `file_path` or `file_error`; `supabase`: "saved" or "queued: <why>", or `supabase_error`. With
    tracing off `{"saved": False, "reason": "tracing_disabled"}`. Calling it again does no harm.
    """
    outcome = _ended(trace)
    if outcome is None:
        return _unsaved(trace)
    futures.wait([outcome], timeout=trace.finish_timeout)
    return _result(trace, outcome)


class TraceContext:
    """The SPEC's way to start, find and finish a run."""

    @staticmethod
    def start(  # noqa: PLR0917 # the SPEC's signature
        project_id: str | None = None,
        project_name: str | None = None,
        query: str | None = None,
        intent: str | None = None,
        domain: str | None = None,
        report_type: str | None = None,
        research_type: str | None = None,
        enabled: bool = True,  # noqa: FBT001, FBT002 # the SPEC's signature
        **more: Any,
    ) -> Trace:
        """Start a run and make it current; the same as `ire_otel.run`."""
        return run(
            query,
            project_name=project_name,
            project_id=project_id,
            intent=intent,
            domain=domain,
            report_type=report_type,
            research_type=research_type,
            enabled=enabled,
            **more,
        )

    @staticmethod
    def current() -> Trace | None:
        """Give the run that is open here, None outside a run; the same as `ire_otel.current_run`."""
        return current_run()

    @staticmethod
    async def finish(trace: Trace) -> dict[str, Any]:
        """End a run and wait until file and row were tried; results as those of `ire_otel.finish_sync`.

        A run that nobody marked, and that was not left through its block, becomes `incomplete`.
        """
        import asyncio

        outcome = _ended(trace)
        if outcome is None:
            return _unsaved(trace)
        await asyncio.wait([asyncio.wrap_future(outcome)], timeout=trace.finish_timeout)
        return _result(trace, outcome)


def _unsaved(trace: Trace | None) -> dict[str, Any]:
    return {"saved": False, "reason": "no_run" if trace is None else "tracing_disabled"}


def _ended(trace: Trace | None) -> futures.Future[ExportOutcome | None] | None:
    if trace is None:
        warn_once("finish() was given no run; there is none to finish outside a run")
        return None
    trace.end_run(unmarked="incomplete")
    return trace.outcome


def _result(trace: Trace, pending: futures.Future[ExportOutcome | None]) -> dict[str, Any]:
    result: dict[str, Any] = {"trace_id": trace.trace_id}
    if not pending.done():
        return {**result, "supabase": "queued: still being written"}
    outcome = pending.result()
    if outcome is None:
        return {**result, "saved": False, "reason": "the exporter `ire` is not configured"}
    sinks = {
        "file_path": outcome.file_path,
        "file_error": outcome.file_error,
        "supabase": outcome.row,
        "supabase_error": outcome.row_error,
    }
    return {**result, **{key: value for key, value in sinks.items() if value is not None}}
