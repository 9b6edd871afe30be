"""The whole document out of a run's records, and its bytes."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, cast, get_args

import msgspec
from msgspec import UNSET

from ire_otel import semconv, values
from ire_otel.assembly.attributes import members, parsed, real, text
from ire_otel.assembly.calls import calls_of
from ire_otel.assembly.events import Placed, RunEvents, sort_events
from ire_otel.assembly.facts import json_object
from ire_otel.assembly.merging import merge
from ire_otel.assembly.selection import RunRecords, select
from ire_otel.assembly.stages import stages
from ire_otel.assembly.times import iso, seconds
from ire_otel.llm import LlmCall, summary
from ire_otel.model import ChildTrace, Dropped, Metadata, Run, RunStatus, StageTrace, TraceDocument
from ire_otel.records import SpanRecord

INTAKE: Final = "intake"
QUALITY_GATE: Final = "quality_gate"

_NO_RUN_SPAN: Final = "the run span is missing: the run's own facts and status are unknown"
_LEARNT_IN_INTAKE: Final = {
    "intent": semconv.RUN_INTENT,
    "domain": semconv.RUN_DOMAIN,
    "report_type": semconv.RUN_REPORT_TYPE,
    "research_type": semconv.RUN_RESEARCH_TYPE,
}

_OUTCOME: Final = (semconv.RUN_STATUS, semconv.RUN_ERROR)


def _generator() -> str:
    try:
        return f"ire-otel/{version('ire-otel')}"
    except PackageNotFoundError:
        return "ire-otel/unknown"


GENERATOR: Final = _generator()


def assemble(
    records: Sequence[SpanRecord], *, run_id: str | None = None, source: str = "runlog", live: bool = False
) -> TraceDocument:
    """Assemble the document of one run.

    `records` are spans in any order, partial copies and spans of other runs included. `run_id` says which run; without
    it, the outermost (the earliest, where there are several). `source` becomes `metadata.source`. `live` is for a run
    that goes on: while its span is open the status is the one it has so far; otherwise an open run is `incomplete`.
    JSON in the document is `msgspec.Raw`, as recorded; `ire_otel.values.plain` turns it into objects.

    Raises ValueError where no record belongs to the run.
    """
    run_records = select(merge(records), run_id)
    events = sort_events(run_records)
    calls = calls_of(run_records)
    staged = stages(run_records, events, calls)
    run_records = _with_facts(run_records, events)
    attributes: Mapping[str, Any] = {} if run_records.run is None else run_records.run.attributes
    run = _run(run_records, staged, live=live)
    iterations = [json_object(placed.event.attributes[semconv.ITERATION]) or {} for placed in events.iterations]
    return TraceDocument(
        trace_id=run_records.run_id,
        parent_trace_id=_set(text(attributes.get(semconv.RUN_PARENT_ID))),
        output_type=_set(text(attributes.get(semconv.RUN_OUTPUT_TYPE))),
        project_id=_own_text(run_records, semconv.PROJECT_ID),
        project_name=_own_text(run_records, semconv.PROJECT_NAME),
        run=run,
        stages=staged,
        iterations=iterations,
        iteration_count=len(iterations) or 1,
        quality_gate_failures=_gate_failures(iterations, staged),
        outputs=_outputs(attributes, run),
        child_traces=_children(events.children),
        metadata=_metadata(run_records, events, calls, source),
    )


def encode(document: TraceDocument) -> bytes:
    """Give the bytes of the trace file: UTF-8 JSON, indented by two spaces, with a newline at the end."""
    try:
        return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    except RecursionError:
        # Somebody's attribute nests deeper than can be indented: still one valid line.
        return msgspec.json.encode(document) + b"\n"


def _with_facts(records: RunRecords, events: RunEvents) -> RunRecords:
    """Add to the run what other processes learnt of it. Its own word counts more, but a failure anywhere is one."""
    if records.run is None or not events.run_facts:
        return records
    facts: dict[str, Any] = {}
    for placed in events.run_facts:
        facts.update(placed.event.attributes)
    failed = facts.get(semconv.RUN_STATUS) == "failed"
    said = {key: value for key, value in facts.items() if failed or key != semconv.RUN_STATUS}
    own = {key: value for key, value in records.run.attributes.items() if not (failed and key in _OUTCOME)}
    run = msgspec.structs.replace(records.run, attributes={**said, **own})
    return msgspec.structs.replace(records, run=run)


def _run(records: RunRecords, staged: Mapping[str, StageTrace], *, live: bool) -> Run:
    span = records.run
    every = (*records.own, *records.notes, *records.foreign)
    start_ns = min(record.start_ns for record in every) if span is None else span.start_ns
    end_ns = None if span is None else span.end_ns
    attributes = {} if span is None else span.attributes
    learnt: dict[str, Any] = {name: _own_text(records, attribute) for name, attribute in _LEARNT_IN_INTAKE.items()}
    for name, value in _intake_says(staged.get(INTAKE)).items():
        learnt[name] = value if learnt[name] is None else learnt[name]
    error = text(attributes.get(semconv.RUN_ERROR))
    if error is None and span is not None and span.status == "ERROR":
        error = span.status_description
    return Run(
        query=text(attributes.get(semconv.RUN_QUERY)),
        **learnt,
        started_at=iso(start_ns),
        completed_at=None if end_ns is None else iso(end_ns),
        duration_seconds=None if end_ns is None else seconds(start_ns, end_ns),
        status=_status(span, live=live),
        error=error,
    )


def _status(span: SpanRecord | None, *, live: bool) -> RunStatus:
    if span is None:
        return "incomplete"
    said = span.attributes.get(semconv.RUN_STATUS)
    status = cast("RunStatus | None", said if said in get_args(RunStatus) else None)
    if span.end_ns is None:
        if live:
            return status or "in_progress"
        return "failed" if status == "failed" else "incomplete"
    if status is None:
        return "incomplete" if span.status == "ERROR" else "complete"
    return "incomplete" if status == "in_progress" else status


def _intake_says(intake: StageTrace | None) -> dict[str, str]:
    """Give what the intake stage found out about the run: its outputs, then its decision on the intent."""
    if intake is None:
        return {}
    outputs = members(intake.outputs) or {}
    said = {name: parsed(outputs.get(name)) for name in _LEARNT_IN_INTAKE}
    found = {name: value for name, value in said.items() if isinstance(value, str)}
    for decision in intake.decisions:
        if decision.decision == "classified_intent" and isinstance(decision.what, str):
            found.setdefault("intent", decision.what)
    return found


def _own_text(records: RunRecords, name: str) -> str | None:
    """Give an attribute of the run, which its stage spans may repeat, from the run span or else the last stage."""
    spans = [records.run] if records.run is not None else [*reversed(records.stages)]
    return next((text(span.attributes[name]) for span in spans if name in span.attributes), None)


def _gate_failures(iterations: Sequence[Mapping[str, Any]], staged: Mapping[str, StageTrace]) -> int:
    if iterations:
        return sum(_failed(iteration) for iteration in iterations)
    gate = staged.get(QUALITY_GATE)
    if gate is None:
        return 0
    return sum(attempt.passing is False for attempt in ([gate] if gate.attempts is UNSET else gate.attempts))


def _failed(iteration: Mapping[str, Any]) -> bool:
    result = parsed(iteration.get("quality_gate_result"))
    if isinstance(result, str):
        return result.strip().upper().startswith("FAIL")
    return parsed(iteration.get("passed")) is False


def _outputs(attributes: Mapping[str, Any], run: Run) -> dict[str, Any]:
    outputs = json_object(attributes.get(semconv.RUN_OUTPUTS)) or {}
    if run.status == "failed" and run.error is not None:
        outputs.setdefault("error", run.error)
    return outputs


def _children(events: Sequence[Placed]) -> list[ChildTrace]:
    children: dict[str, dict[str, str]] = {}
    for placed in events:
        attributes = placed.event.attributes
        known = children.setdefault(text(attributes[semconv.CHILD_ID]) or "", {})
        for name, attribute in (("output_type", semconv.CHILD_OUTPUT_TYPE), ("path", semconv.CHILD_PATH)):
            said = text(attributes.get(attribute))
            if said is not None:
                known[name] = said
    return [ChildTrace(trace_id=trace_id, **known) for trace_id, known in children.items()]


def _metadata(records: RunRecords, events: RunEvents, calls: Sequence[LlmCall], source: str) -> Metadata:
    every = (*records.own, *records.notes, *records.foreign)
    head = records.run or every[0]
    dropped = _dropped(records.own)
    seen = summary(calls)
    return Metadata(
        generator=GENERATOR,
        otel_trace_id=head.trace_id,
        otel_span_id=records.run_id.rpartition("_")[2] if records.run is None else head.span_id,
        tracing_overhead_ms=None if records.run is None else real(head.attributes.get(semconv.RUN_OVERHEAD_MS)),
        dropped=UNSET if dropped == Dropped() else dropped,
        llm_calls=UNSET if seen is None else seen,
        warnings=events.warnings if records.run is not None else [*events.warnings, _NO_RUN_SPAN],
        resource={name: values.decode(value) for name, value in sorted(head.resource.items())},
        records=sum(1 + len(span.events) for span in every),
        source=source,
        foreign_spans=_set(text(head.attributes.get(semconv.RUN_FOREIGN_SPANS))),
        recovered=True if head.attributes.get(semconv.RUN_RECOVERED) is True else UNSET,
    )


def _dropped(spans: Sequence[SpanRecord]) -> Dropped:
    """Sum what the run's own spans lost; what foreign spans dropped was no decision."""
    return Dropped(
        attributes=sum(span.dropped_attributes for span in spans)
        + sum(event.dropped_attributes for span in spans for event in span.events),
        events=sum(span.dropped_events for span in spans),
        links=sum(span.dropped_links for span in spans),
    )


def _set(value: str | None) -> Any:
    return UNSET if value is None else value
