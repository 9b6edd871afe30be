"""A trace document back to the spans of its run: what `assemble` makes the same document of. Pure.

What a document does not hold is not made up: foreign spans (so `llm_calls`, and cache and reasoning shares of tokens),
the number of records, and the ids of stage spans, which are worked out from the run's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET

from ire_otel import semconv, values
from ire_otel.model import Attempt, Decision, StageTrace, TraceDocument, given
from ire_otel.records import EventRecord, SpanRecord

_MICROSECOND: Final = 1_000
_TRACE_DIGITS: Final = 32
_SPAN_DIGITS: Final = 16


class _Stage(msgspec.Struct):
    """A stage and the spans of its attempts, in their order; none for a stage that was never started."""

    name: str
    trace: StageTrace
    attempts: list[Attempt]
    ids: list[str]
    first_ns: int
    """When it is first heard of."""


def spans_of(document: TraceDocument) -> list[SpanRecord]:
    """Give the run span and the stage spans of a document, with its decisions, scores and iterations as events."""
    return _Spans(document).all()


class _Spans:
    """The spans of one document while they are made."""

    def __init__(self, document: TraceDocument) -> None:
        self._document = document
        self._seq = 0
        self._start = _ns(document.run.started_at) or 0
        self._trace_id = _identifier(document.metadata.otel_trace_id, _TRACE_DIGITS)
        self._span_id = _identifier(document.metadata.otel_span_id, _SPAN_DIGITS)
        self._resource = _attributes(document.metadata.resource)
        self._stages: list[_Stage] = []
        number = 0
        heard = self._start
        for name, trace in document.stages.items():
            attempts: list[Attempt] = [trace] if trace.attempts is UNSET else list(trace.attempts)
            started = [attempt for attempt in attempts if attempt.started_at is not None]
            ids = [self._stage_id(number + place) for place in range(len(started))]
            number += len(ids)
            said = [started[0].started_at if started else None, *(taken.timestamp for taken in trace.decisions)]
            heard = next(filter(None, map(_ns, said)), heard + _MICROSECOND)
            self._stages.append(_Stage(name, trace, started or attempts, ids, heard))

    def all(self) -> list[SpanRecord]:
        """Give all spans, the run's first."""
        events = [*self._run_events()]
        stages = [span for stage in self._stages for span in self._stage(stage, events)]
        return [self._run(events), *stages]

    def _run(self, events: list[EventRecord]) -> SpanRecord:
        document, run, metadata = self._document, self._document.run, self._document.metadata
        dropped = given(metadata.dropped)
        return SpanRecord(
            trace_id=self._trace_id,
            span_id=self._span_id,
            name=f"{semconv.RUN_SPAN} {run.report_type or ''}".strip()[: semconv.NAME_LENGTH],
            start_ns=self._start,
            end_ns=_ns(run.completed_at),
            status="ERROR" if run.error is not None else "UNSET",
            status_description=run.error,
            attributes=_attributes(
                {
                    semconv.RUN_ID: document.trace_id,
                    semconv.SCHEMA: semconv.SCHEMA_VERSION,
                    semconv.PROJECT_ID: document.project_id,
                    semconv.PROJECT_NAME: document.project_name,
                    semconv.RUN_QUERY: run.query,
                    semconv.RUN_INTENT: run.intent,
                    semconv.RUN_DOMAIN: run.domain,
                    semconv.RUN_REPORT_TYPE: run.report_type,
                    semconv.RUN_RESEARCH_TYPE: run.research_type,
                    semconv.RUN_STATUS: run.status,
                    semconv.RUN_ERROR: run.error,
                    semconv.RUN_OUTPUTS: document.outputs or None,
                    semconv.RUN_PARENT_ID: given(document.parent_trace_id),
                    semconv.RUN_OUTPUT_TYPE: given(document.output_type),
                    semconv.RUN_OVERHEAD_MS: metadata.tracing_overhead_ms,
                    semconv.RUN_FOREIGN_SPANS: given(metadata.foreign_spans),
                    semconv.RUN_RECOVERED: given(metadata.recovered),
                }
            ),
            events=tuple(events),
            scope_name=semconv.SCOPE,
            resource=self._resource,
            dropped_attributes=0 if dropped is None else dropped.attributes,
            dropped_events=0 if dropped is None else dropped.events,
            dropped_links=0 if dropped is None else dropped.links,
        )

    def _run_events(self) -> Iterator[EventRecord]:
        for warning in self._document.metadata.warnings:
            yield self._event("warning", self._start, {semconv.WARNING: warning})
        for iteration in self._document.iterations:
            fields = {semconv.ITERATION: iteration}
            yield self._event("iteration", self._start, fields)
        for child in self._document.child_traces:
            said = {semconv.CHILD_ID: child.trace_id, semconv.CHILD_OUTPUT_TYPE: child.output_type}
            yield self._event("child", self._start, {**said, semconv.CHILD_PATH: child.path})

    def _stage(self, stage: _Stage, of_run: list[EventRecord]) -> list[SpanRecord]:
        """Give a stage's spans; where it has none, its events go among those of the run."""
        if not stage.ids:
            of_run.extend(self._unstarted(stage))
            return []
        events: list[list[EventRecord]] = [self._scores(attempt, stage.first_ns) for attempt in stage.attempts]
        for taken in stage.trace.decisions:
            events[min(max(taken.attempt, 1), len(events)) - 1].append(self._decision(taken, stage))
        return [self._attempt(stage, place, events[place]) for place in range(len(stage.ids))]

    def _unstarted(self, stage: _Stage) -> Iterator[EventRecord]:
        facts = _facts(stage.attempts[0])
        named = {semconv.STAGE_NAME: stage.name}
        for taken in stage.trace.decisions:
            yield self._decision(taken, stage, named)
        yield from self._scores(stage.attempts[0], stage.first_ns, named)
        name = f"{semconv.STAGE_FACTS_EVENT_PREFIX}{stage.name}"[: semconv.NAME_LENGTH]
        yield self._event(name, stage.first_ns, {**named, **facts})

    def _attempt(self, stage: _Stage, place: int, events: list[EventRecord]) -> SpanRecord:
        attempt = stage.attempts[place]
        identity = {semconv.RUN_ID: self._document.trace_id, semconv.PROJECT_NAME: self._document.project_name}
        named = {semconv.STAGE_NAME: stage.name, semconv.STAGE_ATTEMPT: place + 1}
        return SpanRecord(
            trace_id=self._trace_id,
            span_id=stage.ids[place],
            parent_span_id=self._parent(stage.ids[place], attempt),
            name=(stage.name if place == 0 else f"{stage.name} #{place + 1}")[: semconv.NAME_LENGTH],
            start_ns=_ns(attempt.started_at) or stage.first_ns,
            end_ns=_ns(attempt.completed_at),
            status="UNSET" if attempt.error is None else "ERROR",
            status_description=attempt.error,
            attributes=_attributes({**identity, **named, **_facts(attempt)}),
            events=tuple(events),
            scope_name=semconv.SCOPE,
            resource=self._resource,
        )

    def _parent(self, span_id: str, attempt: Attempt) -> str:
        """Give the attempt of the enclosing stage that ran when this one started, else the run."""
        start = _ns(attempt.started_at) or 0
        above = [
            (_ns(outer.started_at) or 0, outer_id)
            for stage in self._stages
            if stage.name == given(attempt.enclosing_stage)
            for outer, outer_id in zip(stage.attempts, stage.ids, strict=False)
            if outer_id != span_id
        ]
        before = [one for one in above if one[0] <= start]
        return max(before)[1] if before else min(above)[1] if above else self._span_id

    def _decision(self, taken: Decision, stage: _Stage, named: Mapping[str, Any] | None = None) -> EventRecord:
        said = {
            semconv.DECISION_TYPE: taken.decision,
            semconv.DECISION_COMPONENT: taken.component,
            semconv.DECISION_CONFIDENCE: taken.confidence,
            semconv.DECISION_WHAT: taken.what,
            semconv.DECISION_WHY: taken.why,
            semconv.GIVEN_ALTERNATIVES: taken.alternatives_considered or None,
            semconv.GIVEN_INPUTS: taken.inputs,
            **(named or {}),
        }
        name = f"{semconv.DECISION_EVENT_PREFIX}{taken.decision}"[: semconv.NAME_LENGTH]
        return self._event(name, _ns(taken.timestamp) or stage.first_ns, said)

    def _scores(self, attempt: Attempt, time_ns: int, named: Mapping[str, Any] | None = None) -> list[EventRecord]:
        return [
            self._event(
                semconv.SCORE_EVENT,
                time_ns,
                {
                    semconv.SCORE_ID: score.id,
                    semconv.SCORE_VALUE: score.score,
                    semconv.SCORE_EXPLANATION: score.feedback,
                    semconv.PRINCIPLE_NAME: score.name,
                    **(named or {}),
                },
            )
            for score in given(attempt.principle_scores) or ()
        ]

    def _event(self, name: str, time_ns: int, said: Mapping[str, Any]) -> EventRecord:
        self._seq += 1
        return EventRecord(name=name, time_ns=time_ns, attributes=_attributes({**said, semconv.SEQ: self._seq}))

    def _stage_id(self, number: int) -> str:
        """Give an id that sorts as the stages do: ties in time are broken by it."""
        return f"{hashlib.sha256(self._document.trace_id.encode()).hexdigest()[:10]}{number + 1:06x}"


def _facts(attempt: Attempt) -> dict[str, Any]:
    usage = given(attempt.token_usage)
    gaps = given(attempt.gaps)
    prompts = (given(attempt.prompts) or {}).items()
    return {
        semconv.STAGE_COMPONENT: given(attempt.component),
        semconv.STAGE_OUTPUTS: None if attempt.outputs == {} else attempt.outputs,
        semconv.STAGE_EVIDENCE: given(attempt.evidence),
        semconv.STAGE_ERROR: attempt.error,
        semconv.STAGE_MODEL: given(attempt.model),
        semconv.STAGE_INPUT_TOKENS: None if usage is None else usage.input_tokens,
        semconv.STAGE_OUTPUT_TOKENS: None if usage is None else usage.output_tokens,
        semconv.STAGE_TOTAL_TOKENS: None if usage is None else usage.total_tokens,
        semconv.STAGE_COST_USD: given(attempt.cost_usd),
        semconv.GATE_PASSED: given(attempt.passing),
        semconv.GATE_OVERALL_SCORE: given(attempt.overall_score),
        semconv.GATE_THRESHOLD: given(attempt.threshold),
        semconv.GATE_GAPS: None if gaps is None else [msgspec.to_builtins(gap) for gap in gaps],
        **{f"{semconv.STAGE_PROMPT_PREFIX}{name}": text for name, text in prompts},
    }


def _attributes(said: Mapping[str, Any]) -> dict[str, Any]:
    encoded = {name: values.attribute(values.plain(value)) for name, value in said.items()}
    return {name: value for name, value in encoded.items() if value is not None}


def _ns(stamp: str | None) -> int | None:
    if stamp is None:
        return None
    moment = datetime.fromisoformat(stamp)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * _MICROSECOND


def _identifier(said: str, digits: int) -> str:
    """Give an id as it is; documents from before OpenTelemetry have none, and get one of their own."""
    if re.fullmatch(f"[0-9a-f]{{{digits}}}", said) and said.strip("0"):
        return said
    return hashlib.sha256(said.encode()).hexdigest()[:digits]
