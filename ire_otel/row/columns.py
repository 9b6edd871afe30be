"""What the database holds of one run: the columns of `traces` and of its child tables, one struct a table."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ire_otel.model import Number

NAME_LENGTH: Final = 200
"""Widest name in a child table, in characters."""

Text50 = Annotated[str, Meta(max_length=50)]
Text100 = Annotated[str, Meta(max_length=100)]
Name = Annotated[str, Meta(max_length=NAME_LENGTH)]
Path = Annotated[str, Meta(max_length=500, title="path")]
"""A path that is too long is left out, because part of a path is the path of something else."""
UtcTime = Annotated[str, Meta(title="time")]
"""ISO 8601 UTC, always with microseconds, so that it sorts as text."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The row in `traces`. None is unknown, never zero."""

    trace_id: Text100
    project_id: str | None = None
    """The given project id where it is a UUID; the store keeps it only if `projects` knows it."""
    project_key: Name | None = None
    """The project id as it was given, whatever it is."""
    project_name: Name | None = None
    parent_trace_id: Text100 | None = None
    output_type: Text100 | None = None
    otel_trace_id: Text50 | None = None
    query: str | None = None
    intent: Text50 | None = None
    domain: Text100 | None = None
    report_type: Text100 | None = None
    research_type: Text100 | None = None
    status: str = "in_progress"
    current_stage: Text100 | None = None
    """The stage entered last and not left, while the run goes on."""
    error: str | None = None
    quality_gate_passed: bool | None = None
    overall_quality_score: float | None = None
    """0.0 to 3.0."""
    started_at: UtcTime
    completed_at: UtcTime | None = None
    duration_seconds: float | None = None
    intake_duration: float | None = None
    """Seconds, as the other stages': the union of the stage's attempts."""
    rubric_duration: float | None = None
    collection_duration: float | None = None
    synthesis_duration: float | None = None
    quality_gate_duration: float | None = None
    evidence_collected: int | None = None
    evidence_passed: int | None = None
    evidence_filtered: int | None = None
    synthesis_model: Text100 | None = None
    synthesis_input_tokens: int | None = None
    synthesis_output_tokens: int | None = None
    synthesis_cost_usd: float | None = None
    principle_scores: dict[str, Number | None] = {}
    """Score by principle id."""
    gap_principles: list[str] | None = None
    """Ids scored below 2; empty where the gate found none, None where there was no gate."""
    strength_principles: list[str] | None = None
    iteration_count: int | None = None
    quality_gate_failures: int | None = None
    decision_count: int | None = None
    llm_call_count: int | None = None
    """Model calls that instrumentation saw; None where it saw none."""
    llm_calls_without_usage: int | None = None
    """Those whose input or output tokens are unknown."""
    input_tokens: int | None = None
    """Over all attempts of all stages, and calls in no stage; as output_tokens and cost_usd."""
    output_tokens: int | None = None
    cost_usd: float | None = None
    tracing_overhead_ms: float | None = None
    dropped_telemetry: int | None = None
    """Attributes, events and links lost before they reached ire-otel."""
    schema_version: int | None = None
    """Version of the trace document."""
    trace_file_path: Path | None = None
    """From the brain folder's own name on; None where the file could not be written."""
    jaeger_url: Path | None = None
    """Where the run is in Jaeger's page, by the setting of the one who wrote the row."""
    report_file_path: Path | None = None
    output_file_paths: list[str] | None = None


class PrincipleScoreRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row in `trace_principle_scores`; the run's own columns are repeated for the index."""

    trace_id: str
    principle_id: str
    name: str | None
    score: float | None
    """0 to 3."""
    feedback: str | None
    started_at: UtcTime
    status: str
    intent: str | None
    report_type: str | None


class StageRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row in `trace_stages`: one attempt of a stage."""

    trace_id: str
    stage: str
    attempt: int
    component: str | None
    started_at: UtcTime | None
    duration_seconds: float | None
    error: str | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row in `trace_decisions`."""

    trace_id: str
    position: int
    """Counts up over the decisions that were kept, from 1."""
    stage: str
    attempt: int
    component: str | None
    decision_type: str
    what: str | None
    """Text as it is, anything else as compact JSON."""
    why: str | None
    confidence: float | None
    decided_at: UtcTime | None


class SourceRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row in `trace_sources`: one source of evidence, over all attempts; each URL counts once, as decided last."""

    trace_id: str
    source: str
    """The item's own `source`, else the host of its URL."""
    collected: int | None
    """As the pipeline counted by source."""
    kept: int | None
    """None where the pipeline counted the source but its items do not say where they come from."""
    filtered: int | None
    mean_score: float | None
    """Mean of the items' composite scores, kept and filtered alike; without composite, the mean of an item's scores."""


class ModelUsageRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row in `trace_model_usage`: one model, over the whole run."""

    trace_id: str
    model: str
    calls: int | None
    """As instrumentation saw them; None where it saw none, and a stage says that it used the model."""
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the database holds of one run."""

    run: RunRow
    principle_scores: list[PrincipleScoreRow]
    stages: list[StageRow]
    decisions: list[DecisionRow]
    sources: list[SourceRow]
    model_usage: list[ModelUsageRow]
    notes: list[str]
    """What was changed so that both databases take it; belongs into the document's `metadata.warnings`."""
