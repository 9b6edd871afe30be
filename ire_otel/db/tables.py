"""The tables as they are after the last migration; a test keeps the two equal, on both databases."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    literal_column,
    text,
    true,
)

from ire_otel.db.types import JsonObject, RandomUuid, TextList, UtcDateTime, UtcNow, Uuid

metadata = MetaData()

projects = Table(
    "projects",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
)
"""Made only where the database has none; a host's own has further columns, and ire-otel never writes to either."""

traces = Table(
    "traces",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=RandomUuid()),
    Column("trace_id", String(100), nullable=False, unique=True),
    Column("project_id", Uuid, ForeignKey("projects.id", ondelete="SET NULL")),
    Column("project_key", String(200)),
    Column("project_name", String(200)),
    Column("parent_trace_id", String(100)),
    Column("output_type", String(100)),
    Column("otel_trace_id", String(50)),
    Column("query", Text),
    Column("intent", String(50)),
    Column("domain", String(100)),
    Column("report_type", String(100)),
    Column("research_type", String(100)),
    Column("status", String(20), nullable=False, server_default="in_progress"),
    Column("error", Text),
    Column("quality_gate_passed", Boolean),
    Column("overall_quality_score", Float),
    Column("started_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
    Column("duration_seconds", Float),
    Column("intake_duration", Float),
    Column("rubric_duration", Float),
    Column("collection_duration", Float),
    Column("synthesis_duration", Float),
    Column("quality_gate_duration", Float),
    Column("evidence_collected", Integer),
    Column("evidence_passed", Integer),
    Column("evidence_filtered", Integer),
    Column("synthesis_model", String(100)),
    Column("synthesis_input_tokens", Integer),
    Column("synthesis_output_tokens", Integer),
    Column("synthesis_cost_usd", Float),
    Column("principle_scores", JsonObject, server_default=text("'{}'")),
    Column("gap_principles", TextList),
    Column("strength_principles", TextList),
    Column("iteration_count", Integer, server_default=text("1")),
    Column("quality_gate_failures", Integer, server_default=text("0")),
    Column("decision_count", Integer),
    Column("llm_call_count", Integer),
    Column("llm_calls_without_usage", Integer),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cost_usd", Float),
    Column("tracing_overhead_ms", Float),
    Column("dropped_telemetry", Integer),
    Column("schema_version", Integer),
    Column("trace_file_path", String(500)),
    Column("report_file_path", String(500)),
    Column("output_file_paths", TextList),
    Column("flagged_for_review", Boolean, server_default=false()),
    Column("review_notes", Text),
    Column("created_at", UtcDateTime, server_default=UtcNow()),
    Column("updated_at", UtcDateTime, server_default=UtcNow()),
    Column("current_stage", String(100)),
    Column("jaeger_url", String(500)),
)
"""One row a run."""

trace_principle_scores = Table(
    "trace_principle_scores",
    metadata,
    Column("trace_id", String(100), ForeignKey("traces.trace_id", ondelete="CASCADE"), primary_key=True),
    Column("principle_id", String(200), primary_key=True),
    Column("name", String(200)),
    Column("score", Float),
    Column("feedback", String(500)),
    Column("started_at", UtcDateTime, nullable=False),
    Column("status", String(20), nullable=False),
    Column("intent", String(50)),
    Column("report_type", String(100)),
    sqlite_with_rowid=False,
)
"""One row per run and principle."""

trace_stages = Table(
    "trace_stages",
    metadata,
    Column("trace_id", String(100), ForeignKey("traces.trace_id", ondelete="CASCADE"), primary_key=True),
    Column("stage", String(200), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("component", String(200)),
    Column("started_at", UtcDateTime),
    Column("duration_seconds", Float),
    Column("error", Text),
    Column("model", String(200)),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cost_usd", Float),
    sqlite_with_rowid=False,
)
"""One row per run, stage and attempt."""

trace_decisions = Table(
    "trace_decisions",
    metadata,
    Column("trace_id", String(100), ForeignKey("traces.trace_id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("stage", String(200), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("component", String(200)),
    Column("decision_type", String(200), nullable=False),
    Column("what", String(500)),
    Column("why", String(500)),
    Column("confidence", Float),
    Column("decided_at", UtcDateTime),
    sqlite_with_rowid=False,
)
"""One row per decision, at most 1,000 a run."""

trace_sources = Table(
    "trace_sources",
    metadata,
    Column("trace_id", String(100), ForeignKey("traces.trace_id", ondelete="CASCADE"), primary_key=True),
    Column("source", String(200), primary_key=True),
    Column("collected", Integer),
    Column("kept", Integer),
    Column("filtered", Integer),
    Column("mean_score", Float),
    sqlite_with_rowid=False,
)
"""One row per run and source of evidence."""

trace_model_usage = Table(
    "trace_model_usage",
    metadata,
    Column("trace_id", String(100), ForeignKey("traces.trace_id", ondelete="CASCADE"), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("calls", Integer),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cost_usd", Float),
    sqlite_with_rowid=False,
)
"""One row per run and model."""

trace_flags = Table(
    "trace_flags",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=RandomUuid()),
    Column("policy", String(20), nullable=False),
    Column("principle_id", String(200), nullable=False, server_default=""),
    Column("intent", String(50), nullable=False, server_default=""),
    Column("report_type", String(100), nullable=False, server_default=""),
    Column("status", String(20), nullable=False, server_default="open"),
    Column("message", Text, nullable=False),
    Column("runs", Integer),
    Column("failures", Integer),
    Column("rate", Float),
    Column("baseline_runs", Integer),
    Column("baseline_rate", Float),
    Column("low", Float),
    Column("high", Float),
    Column("p_value", Float),
    Column("q_value", Float),
    Column("trace_id", String(100)),
    Column("project_name", String(200)),
    Column("times_raised", Integer, nullable=False, server_default=text("1")),
    Column("first_raised_at", UtcDateTime, nullable=False),
    Column("last_raised_at", UtcDateTime, nullable=False),
    Column("snoozed_until", UtcDateTime),
    Column("resolved_at", UtcDateTime),
    Column("note", Text),
    UniqueConstraint("policy", "principle_id", "intent", "report_type"),
)
"""One row per policy, principle, intent and report type that was ever flagged; '' in those stands for any."""

trace_calibrations = Table(
    "trace_calibrations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("trace_id", String(100), nullable=False),
    Column("principle_id", String(200)),
    Column("gate_score", Float),
    Column("human_score", Float),
    Column("reviewer", String(200)),
    Column("note", Text),
    Column("data", JsonObject),
    Column("created_at", UtcDateTime, nullable=False, server_default=UtcNow()),
)
"""One row per thing that a person said about a run. Its id is made from its content, so that saying it again adds none.

No foreign key: what people said outlives a run whose row is missing.
"""

trace_search_pending = Table(
    "trace_search_pending",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
    Column("trace_id", String(100), nullable=False),
)
"""Runs that the search has yet to take in: a trigger adds a row for each run that is written. Some are gone since."""

VIEWS: Final = (
    "trace_quality_gaps",
    "trace_intent_summary",
    "trace_domain_summary",
    "trace_principle_summary",
    "trace_gate_failures",
    "trace_weekly_quality",
    "trace_stage_timing",
    "trace_cost_summary",
    "trace_decision_outcomes",
    "trace_component_outcomes",
    "trace_source_outcomes",
)
"""The views, for people and their tools; the code itself asks the tables."""

# The first column is what is asked for, the second the order of the answer: newest first.
_newest = traces.c.started_at.desc()
Index("idx_traces_intent", traces.c.intent, _newest)
Index("idx_traces_domain", traces.c.domain, _newest)
Index("idx_traces_report_type", traces.c.report_type, _newest)
# With the time beside it, SQLite would take this one for by_intent and by_domain, too.
Index("idx_traces_status", traces.c.status)
Index("idx_traces_quality_gate", traces.c.quality_gate_passed, _newest)
Index("idx_traces_project_name", traces.c.project_name, _newest)
Index("idx_traces_started", _newest)
Index("idx_traces_project", traces.c.project_id)
Index("idx_traces_overall_score", traces.c.overall_quality_score)
Index("idx_traces_principle_scores", traces.c.principle_scores, postgresql_using="gin").ddl_if(dialect="postgresql")

# Partial ones cost a run nothing where it does not belong: every page that an index touches is written again.
_costed: Final = traces.c.cost_usd.is_not(None)
_timed: Final = traces.c.duration_seconds.is_not(None)
unfinished: Final = traces.c.status != literal_column("'complete'")
"""Condition that a query must state in these words to be served by idx_traces_unfinished."""
flagged: Final = traces.c.flagged_for_review == true()
"""Condition that a query must state in these words to be served by idx_traces_flagged."""
complete_gap: Final = and_(
    trace_principle_scores.c.status == literal_column("'complete'"),
    trace_principle_scores.c.score < literal_column("2"),
)
"""As `flagged`, for idx_trace_principle_scores_gaps: with bound values, neither database sees that the index fits."""
_is_child: Final = traces.c.parent_trace_id.is_not(None)
Index("idx_traces_flagged", _newest, postgresql_where=flagged, sqlite_where=flagged)
Index("idx_traces_parent", traces.c.parent_trace_id, postgresql_where=_is_child, sqlite_where=_is_child)
Index(
    "idx_traces_unfinished",
    *(traces.c.intent, traces.c.status, _newest),
    postgresql_where=unfinished,
    sqlite_where=unfinished,
)
# These cost a run 2 % more; on SQLite it would be half as much again.
Index("idx_traces_cost", traces.c.cost_usd, postgresql_where=_costed).ddl_if(dialect="postgresql")
Index("idx_traces_duration", traces.c.duration_seconds, postgresql_where=_timed).ddl_if(dialect="postgresql")
Index("idx_trace_decisions_type", trace_decisions.c.decision_type).ddl_if(dialect="postgresql")
Index(
    "idx_trace_principle_scores_gaps",
    trace_principle_scores.c.principle_id,
    trace_principle_scores.c.started_at.desc(),
    postgresql_where=complete_gap,
    sqlite_where=complete_gap,
)
Index("idx_trace_flags_status", trace_flags.c.status, trace_flags.c.last_raised_at.desc())
Index("idx_trace_calibrations_trace", trace_calibrations.c.trace_id)
