"""The trace document, schema version 1: what one JSON trace file holds."""

from typing import Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ire_otel import semconv

T = TypeVar("T")

RunStatus = Literal["in_progress", "complete", "incomplete", "failed"]
Number = int | float


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One choice that a stage made."""

    decision: str
    """What kind of decision, e.g. `classified_intent`."""
    what: Any = None
    """The option taken, as the stage named it."""
    why: str = ""
    """The reason, in words; may hold Markdown."""
    confidence: float | None = None
    """The stage's own probability that the choice is right, 0 to 1; None if it gave none."""
    alternatives_considered: list[Any] = []
    """The options not taken."""
    inputs: Any = {}
    """What the choice was made from, by name."""
    timestamp: str | None = None
    """When, ISO 8601 UTC with microseconds."""
    component: str | None = None
    """What took the decision: a component's name, else the calling function's qualified name."""
    attempt: int = 1
    """The attempt of the stage, counted from 1."""


class PrincipleScore(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The gate's score of one rubric principle."""

    id: str
    name: str | None = None
    score: Number | None = None
    """0 to 3; below 2 is a gap, 3 is a strength. None if the gate gave no number."""
    feedback: str | None = None


class ScoreNote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A gap or a strength: one principle, its score, and what the gate said."""

    id: str
    score: Number | None = None
    feedback: str | None = None


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of model calls; None is unknown, not zero."""

    input_tokens: int | None = None
    """Cache tokens are part of these."""
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | UnsetType = UNSET
    """Input tokens that came from the provider's cache; unset where nobody said."""
    cache_write_tokens: int | UnsetType = UNSET
    """Input tokens that the provider put into its cache."""
    reasoning_tokens: int | UnsetType = UNSET
    """Output tokens that the model thought with."""


class ModelUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The calls of one model, as instrumentation saw them."""

    model: str | None = None
    """What answered, else what was asked for; None where neither is known."""
    calls: int
    calls_without_usage: int = 0
    """Calls whose input or output tokens are unknown; the sums leave them out."""
    errors: int = 0
    """Calls that failed; most have no usage."""
    token_usage: TokenUsage = TokenUsage()
    cost_usd: float | None = None
    """None where no call could be priced."""


class LlmCalls(msgspec.Struct, frozen=True, kw_only=True):
    """The model calls of a run or of one attempt of a stage, as instrumentation saw them, each once."""

    calls: int
    calls_without_usage: int = 0
    """Calls whose input or output tokens are unknown; the sums leave them out."""
    errors: int = 0
    """Calls that failed; most have no usage."""
    embeddings: int = 0
    """Not among the calls, as retrievals."""
    retrievals: int = 0
    token_usage: TokenUsage = TokenUsage()
    cost_usd: float | None = None
    """Of the calls whose model and tokens are known; None where there are none."""
    by_model: list[ModelUsage] = []


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a stage, without its decisions. Fields that are unset do not apply and are not written."""

    started_at: str | None = None
    """ISO 8601 UTC with microseconds; None for a stage that was never started but has decisions."""
    completed_at: str | None = None
    """None while the stage is open, or where it never ended."""
    duration_seconds: float | None = None
    error: str | None = None
    """The exception or error that ended the stage."""
    attempt: int | UnsetType = UNSET
    """Number of this attempt, from 1, by start time; set only inside `attempts`."""
    enclosing_stage: str | UnsetType = UNSET
    """Name of the stage that this one ran inside."""
    component: str | UnsetType = UNSET
    """The component that the stage declared for itself."""
    model: str | UnsetType = UNSET
    token_usage: TokenUsage | UnsetType = UNSET
    cost_usd: float | UnsetType = UNSET
    llm_calls: LlmCalls | UnsetType = UNSET
    """The model calls made in this stage, not in one inside it. model, token_usage, cost_usd and prompts come from
    them only where the pipeline did not give its own."""
    principle_scores: list[PrincipleScore] | UnsetType = UNSET
    overall_score: Number | UnsetType = UNSET
    passing: bool | UnsetType = UNSET
    threshold: Number | UnsetType = UNSET
    gaps: list[ScoreNote] | UnsetType = UNSET
    strengths: list[ScoreNote] | UnsetType = UNSET
    evidence: dict[str, Any] | UnsetType = UNSET
    """collected_count, by_source, query_terms_used, kept, filtered_out, and whatever else the pipeline gave."""
    prompts: dict[str, Any] | UnsetType = UNSET
    """Prompt texts by name, e.g. system_prompt, user_message."""
    outputs: Any = {}
    """The stage's outputs, as recorded."""


class StageTrace(Attempt, frozen=True, kw_only=True):
    """A stage over all its attempts; its own fields are the last attempt's, `duration_seconds` the union of all."""

    decisions: list[Decision] = []
    """The decisions of all attempts, in time order."""
    attempts: list[Attempt] | UnsetType = UNSET
    """Every attempt; only where there was more than one."""
    name: str | UnsetType = UNSET
    """Set in the live view `Trace.stages` only; in a document the key says it."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What the run was about and how it ended."""

    query: str | None = None
    intent: str | None = None
    domain: str | None = None
    report_type: str | None = None
    research_type: str | None = None
    started_at: str
    completed_at: str | None = None
    duration_seconds: float | None = None
    status: RunStatus = "in_progress"
    error: str | None = None
    tracing_enabled: bool = True


class ChildTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A run that ran inside this one; its decisions are in its own document."""

    trace_id: str
    output_type: str | None = None
    path: str | None = None
    """The child's report, where it named one."""


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """What was lost before it reached us (an SDK limit in somebody else's process)."""

    attributes: int = 0
    events: int = 0
    links: int = 0


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """About the document itself."""

    trace_version: int = semconv.SCHEMA_VERSION
    generator: str
    """Program and version that assembled the document."""
    otel_trace_id: str
    otel_span_id: str
    """The run span."""
    tracing_overhead_ms: float | None = None
    """Milliseconds that the run's own threads spent inside ire-otel."""
    dropped: Dropped | UnsetType = UNSET
    llm_calls: LlmCalls | UnsetType = UNSET
    """All model calls of the run, in stages or not; unset where none was seen."""
    warnings: list[str] = []
    """What was wrong with calls that recorded something, and what had to be changed to store it."""
    resource: dict[str, Any] = {}
    """The OpenTelemetry resource of the process that made the run span."""
    records: int = 0
    """Spans and events that the document was made from."""
    source: str = "runlog"
    """Where those came from: runlog, sdk or otlp. The only field that may differ between ways to one document."""
    foreign_spans: str | UnsetType = UNSET
    """`sampled` where a sampler of the application may have kept spans of others out of the run."""
    recovered: bool | UnsetType = UNSET
    """True where the document was made from the journal of a process that died."""


class TraceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One research run, complete: the content of one trace file."""

    schema_version: int = semconv.SCHEMA_VERSION
    trace_id: str
    """`trc_<YYYYMMDD>_<16 hex>`; the hex is the run span's span id."""
    parent_trace_id: str | UnsetType = UNSET
    """The run that this one ran inside."""
    output_type: str | UnsetType = UNSET
    """What a child run makes, e.g. report or evidence_pack."""
    project_id: str | None = None
    project_name: str | None = None
    run: Run
    stages: dict[str, StageTrace] = {}
    """By name, in the order of their first start."""
    iterations: list[dict[str, Any]] = []
    iteration_count: int = 1
    quality_gate_failures: int = 0
    outputs: dict[str, Any] = {}
    child_traces: list[ChildTrace] = []
    metadata: Metadata

    @property
    def gate(self) -> StageTrace | None:
        """The stage that judged the run: quality_gate, else the last with scores or a verdict."""
        judging = [stage for stage in self.stages.values() if not (stage.principle_scores is stage.passing is UNSET)]
        return self.stages.get("quality_gate", judging[-1] if judging else None)

    @property
    def open_stage(self) -> str | None:
        """The stage that was entered last and not left."""
        still_open = [
            (stage.started_at, name)
            for name, stage in self.stages.items()
            if stage.started_at is not None and stage.completed_at is None
        ]
        return max(still_open)[1] if still_open else None


def given(value: T | UnsetType) -> T | None:
    """Give a field that may be unset, None where it is."""
    return None if value is UNSET else value
