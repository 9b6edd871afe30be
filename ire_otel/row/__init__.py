"""Turn a trace document into its database rows: one in `traces`, the others in its child tables. Pure.

A row holds only what SQLite and Postgres both take; whatever had to be changed for that stands in its notes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET

from ire_otel.errors import RowRefusedError
from ire_otel.model import Attempt, Decision, LlmCalls, ModelUsage, StageTrace, TokenUsage, TraceDocument, given
from ire_otel.row.columns import DecisionRow, ModelUsageRow, PrincipleScoreRow, Row, RunRow, SourceRow, StageRow
from ire_otel.row.mending import Mending, fitters, length, mapping, opened
from ire_otel.row.sources import sources
from ire_otel.values import dumps

__all__ = ["DecisionRow", "ModelUsageRow", "PrincipleScoreRow", "Row", "RunRow", "SourceRow", "StageRow", "row"]

DECISIONS: Final = 1_000
"""Most decisions that a run has in `trace_decisions`; `traces.decision_count` says how many there were."""

_ROUNDING: Final = 1e-9
"""Sums of floats that differ by less are equal."""
_FITTERS: Final = fitters(RunRow)
_TIMED: Final = ("intake", "rubric", "collection", "synthesis", "quality_gate")
_FROM_RUN: Final = (
    *("query", "intent", "domain", "report_type", "research_type"),
    *("started_at", "completed_at", "duration_seconds", "status", "error"),
)


def row(document: TraceDocument, location: str | None, jaeger_url: str | None = None) -> Row:
    """Make the rows of `document`, whose trace file is at `location` (`brain/projects/…`; None: not written).

    jaeger_url: the address of the run in Jaeger's page.
    The notes belong into the document's `metadata.warnings`; with them there, the rows stay the same.
    Raises RowRefusedError where the trace_id or the start time is none that a row can have.
    """
    mend = Mending()
    attempts = [(name, attempt) for name, stage in document.stages.items() for attempt in _attempts(stage)]
    flat = [attempt for _, attempt in attempts]
    run = _run_row(document, {"trace_file_path": location, "jaeger_url": jaeger_url}, flat, mend)
    return Row(
        run=run,
        principle_scores=list(_principle_scores(run, document.gate, mend)),
        stages=_stages(run.trace_id, attempts, mend),
        decisions=list(_decisions(document, mend)),
        sources=list(sources(run.trace_id, flat, mend)),
        model_usage=list(_model_usage(document, flat, mend)),
        notes=list(mend.notes),
    )


def _run_row(
    document: TraceDocument, places: dict[str, str | None], attempts: list[Attempt], mend: Mending
) -> RunRow:  # fmt: skip
    run, metadata = document.run, document.metadata
    dropped = metadata.dropped
    values: dict[str, Any] = {
        "trace_id": document.trace_id,
        "project_id": _uuid(document.project_id),
        "project_key": document.project_id,
        "project_name": document.project_name,
        "parent_trace_id": given(document.parent_trace_id),
        "output_type": given(document.output_type),
        "otel_trace_id": metadata.otel_trace_id,
        **{name: getattr(run, name) for name in _FROM_RUN},
        **_gate_columns(document),
        **{f"{name}_duration": document.stages[name].duration_seconds for name in _TIMED if name in document.stages},
        **_evidence_columns(document.stages.get("collection")),
        **_synthesis_columns(document.stages.get("synthesis")),
        **_calls(given(metadata.llm_calls)),
        **_run_totals(attempts, given(metadata.llm_calls)),
        "iteration_count": document.iteration_count,
        "quality_gate_failures": document.quality_gate_failures,
        "decision_count": sum(len(stage.decisions) for stage in document.stages.values()),
        "tracing_overhead_ms": metadata.tracing_overhead_ms,
        "dropped_telemetry": 0 if dropped is UNSET else dropped.attributes + dropped.events + dropped.links,
        "schema_version": document.schema_version,
        "current_stage": document.open_stage if run.status == "in_progress" else None,
        **places,
        **_paths(mapping(document.outputs)),
    }
    mended = {column: _FITTERS[column](mend, value) for column, value in values.items()}
    if mended["started_at"] is None or mended["trace_id"] != document.trace_id or not document.trace_id:
        raise RowRefusedError(
            f"run {document.trace_id[:100]!r}, started at {run.started_at[:40]!r}, cannot be a row: a trace_id has 1 "
            "to 100 characters, a start is an ISO 8601 time; mend the trace file"
        )
    return RunRow(**mended)


def _gate_columns(document: TraceDocument) -> dict[str, Any]:
    gate = document.gate
    if gate is None:
        return {}
    scores = given(gate.principle_scores) or []
    return {
        "quality_gate_passed": given(gate.passing),
        "overall_quality_score": given(gate.overall_score),
        "principle_scores": {score.id: score.score for score in scores},
        "gap_principles": None if gate.gaps is UNSET else [gap.id for gap in gate.gaps],
        "strength_principles": None if gate.strengths is UNSET else [strength.id for strength in gate.strengths],
    }


def _evidence_columns(collection: StageTrace | None) -> dict[str, Any]:
    """Count the evidence. A count that the pipeline gave beats the length of a list, which may be abridged."""
    if collection is None:
        return {}
    evidence, outputs = given(collection.evidence) or {}, mapping(collection.outputs)

    def count(said: str, counted: str, listed: str) -> Any:
        if said in outputs:
            return opened(outputs[said])
        return opened(evidence[counted]) if counted in evidence else length(evidence.get(listed))

    return {
        "evidence_collected": opened(evidence.get("collected_count")),
        "evidence_passed": count("evidence_passed", "kept_count", "kept"),
        "evidence_filtered": count("evidence_filtered", "filtered_count", "filtered_out"),
    }


def _synthesis_columns(synthesis: StageTrace | None) -> dict[str, Any]:
    if synthesis is None:
        return {}
    usage = given(synthesis.token_usage) or TokenUsage()
    return {
        "synthesis_model": given(synthesis.model),
        "synthesis_input_tokens": usage.input_tokens,
        "synthesis_output_tokens": usage.output_tokens,
        "synthesis_cost_usd": given(synthesis.cost_usd),
    }


def _totals(attempts: Iterable[Attempt]) -> dict[str, Any]:
    attempts = list(attempts)
    usages = [attempt.token_usage for attempt in attempts if attempt.token_usage is not UNSET]
    return {
        "input_tokens": _total(usage.input_tokens for usage in usages),
        "output_tokens": _total(usage.output_tokens for usage in usages),
        "cost_usd": _total(given(attempt.cost_usd) for attempt in attempts),
    }


def _calls(seen: LlmCalls | None) -> dict[str, Any]:
    if seen is None:
        return {}
    return {"llm_call_count": seen.calls, "llm_calls_without_usage": seen.calls_without_usage}


def _run_totals(attempts: Iterable[Attempt], seen: LlmCalls | None) -> dict[str, Any]:
    """Add up what the stages say, and the calls that were made in no stage."""
    attempts = list(attempts)
    totals = _totals(attempts)
    if seen is None:
        return totals
    placed = [attempt.llm_calls for attempt in attempts if attempt.llm_calls is not UNSET]
    outside = {
        "input_tokens": _rest(seen.token_usage.input_tokens, [calls.token_usage.input_tokens for calls in placed]),
        "output_tokens": _rest(seen.token_usage.output_tokens, [calls.token_usage.output_tokens for calls in placed]),
        "cost_usd": _rest(seen.cost_usd, [calls.cost_usd for calls in placed]),
    }
    return {name: _total((total, outside[name])) for name, total in totals.items()}


def _rest(whole: float | None, parts: Sequence[float | None]) -> float | None:
    """Give what is left of a sum when the parts of it are taken away; None where nothing is."""
    rest = (whole or 0) - (_total(parts) or 0)
    return rest if rest > _ROUNDING else None


def _paths(outputs: Mapping[str, Any]) -> dict[str, Any]:
    report = opened(outputs.get("report_path"))
    return {
        "report_file_path": report if isinstance(report, str) else None,
        "output_file_paths": list(dict.fromkeys(_paths_in(outputs))),
    }


def _paths_in(outputs: Mapping[str, Any]) -> Iterator[str]:
    """Give every text under a key that ends in path or paths, at any depth."""
    for key, encoded in outputs.items():
        names_paths = key.lower().rpartition("_")[2] in {"path", "paths"}
        value = opened(encoded)
        for item in map(opened, value) if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield from _paths_in(item)
            elif names_paths and isinstance(item, str) and item:
                yield item


def _principle_scores(run: RunRow, gate: StageTrace | None, mend: Mending) -> Iterator[PrincipleScoreRow]:
    scores = (given(gate.principle_scores) if gate is not None else None) or []
    for principle_id, judged in {mend.name("principle_id", score.id) or "": score for score in scores}.items():
        yield PrincipleScoreRow(
            trace_id=run.trace_id,
            principle_id=principle_id,
            name=mend.name("principle_name", judged.name),
            score=mend.number("principle_score", judged.score),
            feedback=mend.excerpt("feedback", judged.feedback),
            started_at=run.started_at,
            status=run.status,
            intent=run.intent,
            report_type=run.report_type,
        )


def _stages(trace_id: str, attempts: list[tuple[str, Attempt]], mend: Mending) -> list[StageRow]:
    rows: dict[tuple[str, int], StageRow] = {}
    for stage, attempt in attempts:
        usage = given(attempt.token_usage) or TokenUsage()
        entry = StageRow(
            trace_id=trace_id,
            stage=mend.name("stage", stage) or "",
            attempt=given(attempt.attempt) or 1,
            component=mend.name("component", given(attempt.component)),
            started_at=mend.time("stage started_at", attempt.started_at),
            duration_seconds=mend.number("stage duration_seconds", attempt.duration_seconds),
            error=mend.text("stage error", attempt.error),
            model=mend.name("model", given(attempt.model)),
            input_tokens=mend.integer("stage input_tokens", usage.input_tokens),
            output_tokens=mend.integer("stage output_tokens", usage.output_tokens),
            cost_usd=mend.number("stage cost_usd", given(attempt.cost_usd)),
        )
        rows[entry.stage, entry.attempt] = entry
    return list(rows.values())


def _decisions(document: TraceDocument, mend: Mending) -> Iterator[DecisionRow]:
    per_stage = [
        [(name, decision) for decision in trace.decisions]
        for stage, trace in document.stages.items()
        for name in [mend.name("stage", stage) or ""]
    ]
    kept: Iterable[tuple[str, Decision]] = chain.from_iterable(per_stage)
    if sum(map(len, per_stage)) > DECISIONS:
        # In turns, so that one talkative stage does not crowd out the others.
        turns = chain.from_iterable(zip_longest(*per_stage))
        kept = islice((entry for entry in turns if entry is not None), DECISIONS)
    for position, (stage, decision) in enumerate(kept, start=1):
        yield DecisionRow(
            trace_id=document.trace_id,
            position=position,
            stage=stage,
            attempt=decision.attempt,
            component=mend.name("component", decision.component),
            decision_type=mend.name("decision", decision.decision) or "",
            what=mend.excerpt("what", _words(decision.what)),
            why=mend.excerpt("why", decision.why),
            confidence=mend.number("confidence", decision.confidence),
            decided_at=mend.time("decision timestamp", decision.timestamp),
        )


def _model_usage(document: TraceDocument, attempts: Iterable[Attempt], mend: Mending) -> Iterator[ModelUsageRow]:
    """Give each model's calls as they were seen, and what stages report in which none was seen."""
    seen = given(document.metadata.llm_calls)
    by_model: dict[str, list[ModelUsage]] = {}
    for usage in [*(seen.by_model if seen is not None else ()), *map(_reported, attempts)]:
        model = mend.name("model", usage.model)
        if model:
            by_model.setdefault(model, []).append(usage)
    for model, used in by_model.items():
        yield ModelUsageRow(
            trace_id=document.trace_id,
            model=model,
            calls=mend.integer("calls", sum(usage.calls for usage in used) or None),
            input_tokens=mend.integer("input_tokens", _total(usage.token_usage.input_tokens for usage in used)),
            output_tokens=mend.integer("output_tokens", _total(usage.token_usage.output_tokens for usage in used)),
            cost_usd=mend.number("cost_usd", _total(usage.cost_usd for usage in used)),
        )


def _reported(attempt: Attempt) -> ModelUsage:
    """Give what an attempt itself says of its model; its calls are unknown (0), and its model where they were seen."""
    model = given(attempt.model) if attempt.llm_calls is UNSET else None
    usage = given(attempt.token_usage) or TokenUsage()
    return ModelUsage(model=model, calls=0, token_usage=usage, cost_usd=given(attempt.cost_usd))


def _attempts(stage: StageTrace) -> list[Attempt]:
    return [stage] if stage.attempts is UNSET else stage.attempts


def _total(numbers: Iterable[float | None]) -> float | None:
    """Add up what is known; None where nothing is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _uuid(text: str | None) -> str | None:
    try:
        return str(UUID(text)) if text else None
    except ValueError:
        return None


def _words(value: Any) -> str | None:
    value = opened(value)
    return value if value is None or isinstance(value, str) else dumps(value)
