"""Stage spans and what was recorded on them to StageTraces: attempts numbered, everything laid where it belongs."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from ire_otel import semconv
from ire_otel.assembly.attributes import members, text
from ire_otel.assembly.calls import call_fields
from ire_otel.assembly.decisions import decision
from ire_otel.assembly.events import Placed, RunEvents
from ire_otel.assembly.facts import stage_fields
from ire_otel.assembly.gate import Verdict, reported_verdict, typed_verdict, verdict_fields
from ire_otel.assembly.selection import RunRecords, SpanKey, enclosing_stage, key
from ire_otel.assembly.times import covered_seconds, iso, microseconds, seconds
from ire_otel.llm import LlmCall
from ire_otel.model import Attempt, StageTrace
from ire_otel.records import EventRecord, SpanRecord

RUN_STAGE: Final = "run"
"""The stage of decisions that were taken in no stage."""


class AttemptRecords(msgspec.Struct, kw_only=True):
    """What was recorded of one attempt."""

    number: int
    span: SpanRecord | None = None
    """None for a stage that was never started."""
    facts: dict[str, Any] = {}
    """The span's attributes, and over them what was said while the stage was not open."""
    scores: list[EventRecord] = []
    decisions: list[EventRecord] = []
    calls: list[LlmCall] = []
    enclosing_stage: str | None = None


class StageRecords(msgspec.Struct, kw_only=True):
    """What was recorded of one stage."""

    name: str
    attempts: list[AttemptRecords] = []
    """By start, then span id."""
    starts: list[int] = []
    """Their starts, in Unix microseconds; empty for a stage that was never started."""
    decisions: list[tuple[EventRecord, int]] = []
    """With the number of the attempt, in time order."""
    first_seen: tuple[int, str]
    """Unix microseconds of the first start, else of the first event, and the span id."""

    def at(self, time_ns: int) -> AttemptRecords:
        """Give the attempt that was started last at or before a time, else the first."""
        return self.attempts[max(0, bisect_right(self.starts, microseconds(time_ns)) - 1)]


class _Stages:
    """The stages of one run while they are filled."""

    def __init__(self, records: RunRecords) -> None:
        self.by_name: dict[str, StageRecords] = {}
        self._records = records
        self._of_span: dict[SpanKey, tuple[StageRecords, AttemptRecords]] = {}
        for span in records.stages:
            name = text(span.attributes[semconv.STAGE_NAME]) or RUN_STAGE
            start = microseconds(span.start_ns)
            stage = self.by_name.setdefault(name, StageRecords(name=name, first_seen=(start, span.span_id)))
            attempt = AttemptRecords(number=len(stage.attempts) + 1, span=span, facts=dict(span.attributes))
            stage.attempts.append(attempt)
            stage.starts.append(start)
            self._of_span[key(span)] = stage, attempt
        for span in records.stages:
            enclosing = enclosing_stage(records, span)
            if enclosing is not None:
                self._of_span[key(span)][1].enclosing_stage = self._of_span[key(enclosing)][0].name

    def place(self, placed: Placed) -> tuple[StageRecords, AttemptRecords]:
        """Find the stage and attempt of an event: by the stage it names, else by the span it sits on."""
        home = self._home(placed.span)
        name = text(placed.event.attributes.get(semconv.STAGE_NAME))
        if home is not None and name in (None, home[0].name):
            return home
        name = name or RUN_STAGE
        stage = self.by_name.get(name)
        if stage is None:
            first_seen = (microseconds(placed.event.time_ns), placed.span.span_id)
            stage = StageRecords(name=name, attempts=[AttemptRecords(number=1)], first_seen=first_seen)
            self.by_name[name] = stage
        return stage, stage.at(placed.event.time_ns)

    def take(self, call: LlmCall) -> None:
        """File a model call with the attempt that it was made in; one made in no stage is the run's alone."""
        stage = self._records.stage_by_id.get(call.stage_span_id or "")
        if stage is not None:
            self._of_span[key(stage)][1].calls.append(call)

    def _home(self, span: SpanRecord) -> tuple[StageRecords, AttemptRecords] | None:
        if span is self._records.run:
            return None
        home = self._of_span.get(key(span))
        if home is None:
            enclosing = enclosing_stage(self._records, span)
            home = None if enclosing is None else self._of_span[key(enclosing)]
            if home is not None:
                self._of_span[key(span)] = home
        return home


def stages(records: RunRecords, events: RunEvents, calls: Iterable[LlmCall]) -> dict[str, StageTrace]:
    """Make the stages of a run, by name, in the order of their first start (or first event, if never started)."""
    found = _Stages(records)
    for placed in events.decisions:
        stage, attempt = found.place(placed)
        attempt.decisions.append(placed.event)
        stage.decisions.append((placed.event, attempt.number))
    for placed in events.scores:
        found.place(placed)[1].scores.append(placed.event)
    for placed in events.stage_facts:
        found.place(placed)[1].facts.update(placed.event.attributes)
    for call in calls:
        found.take(call)
    in_order = sorted(found.by_name.values(), key=lambda stage: (stage.first_seen, stage.name))
    return {stage.name: _stage(stage) for stage in in_order}


def _stage(stage: StageRecords) -> StageTrace:
    decisions = [decision(event, attempt) for event, attempt in stage.decisions]
    attempts = [_attempt(attempt) for attempt in stage.attempts]
    fields = msgspec.structs.asdict(attempts[-1])
    if len(attempts) > 1:
        fields["attempts"] = attempts
        fields["attempt"] = UNSET
        fields["duration_seconds"] = _covered(stage.attempts)
    else:
        fields["attempt"] = UNSET
    return StageTrace(**fields, decisions=decisions)


def _covered(attempts: Iterable[AttemptRecords]) -> float | None:
    spans = [attempt.span for attempt in attempts if attempt.span is not None]
    intervals = [(span.start_ns, span.end_ns) for span in spans if span.end_ns is not None]
    return covered_seconds(intervals) if intervals else None


def _attempt(attempt: AttemptRecords) -> Attempt:
    facts = attempt.facts
    outputs = members(facts.get(semconv.STAGE_OUTPUTS)) or {}
    fields = stage_fields(facts, outputs) | verdict_fields(_verdicts(attempt, outputs))
    fields |= call_fields(attempt.calls, fields)
    if attempt.enclosing_stage is not None:
        fields["enclosing_stage"] = attempt.enclosing_stage
    return Attempt(attempt=attempt.number, error=_error(attempt), **_times(attempt.span), **fields)


def _times(span: SpanRecord | None) -> dict[str, Any]:
    if span is None:
        return {}
    if span.end_ns is None:
        return {"started_at": iso(span.start_ns)}
    return {
        "started_at": iso(span.start_ns),
        "completed_at": iso(span.end_ns),
        "duration_seconds": seconds(span.start_ns, span.end_ns),
    }


def _error(attempt: AttemptRecords) -> str | None:
    said = text(attempt.facts.get(semconv.STAGE_ERROR))
    if said is None and attempt.span is not None and attempt.span.status == "ERROR":
        return attempt.span.status_description or "ERROR"
    return said


def _verdicts(attempt: AttemptRecords, outputs: Mapping[str, msgspec.Raw]) -> list[Verdict]:
    """Collect what was said of the attempt's quality, the most trusted first."""
    verdicts = [typed_verdict(attempt.facts, attempt.scores), reported_verdict(outputs)]
    for event in reversed(attempt.decisions):
        for name in (semconv.GIVEN_INPUTS, semconv.DECISION_WHAT):
            said = event.attributes.get(name)
            if isinstance(said, str) and '"principle_scores"' in said:
                verdicts.append(reported_verdict(members(said) or {}))
    return [verdict for verdict in verdicts if verdict is not None]
