"""The first tables: traces with its child tables, projects where there is none.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy import Boolean, Column, Float, ForeignKey, Integer, String, Text, false, text

from ire_otel.db import access
from ire_otel.db.migrate import VERSION_TABLE
from ire_otel.db.types import JsonObject, RandomUuid, TextList, UtcDateTime, UtcNow, Uuid

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
created = "20261123100000"

MADE_BY = "made by ire-otel"
"""Comment on what a downgrade may remove: a host's own projects table and trigger function look just like ours."""
CHILDREN = ("trace_principle_scores", "trace_stages", "trace_decisions", "trace_sources", "trace_model_usage")


def upgrade() -> None:
    """Make everything that is not there yet."""
    _projects()
    _traces()
    _child_tables()
    _indexes()
    _updated_at()
    access.close(op, VERSION_TABLE, "traces", *CHILDREN)


def downgrade() -> None:
    """Remove what upgrade made, and nothing else."""
    for table in reversed(CHILDREN):
        op.drop_table(table)
    op.drop_table("traces")
    if _on_postgresql():
        op.execute(DROP_FUNCTION)
        op.execute(DROP_PROJECTS)
    elif not context.is_offline_mode():
        _drop_projects_on_sqlite()


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _projects() -> None:
    if _on_postgresql():
        op.execute(PROJECTS_ON_POSTGRESQL)
    else:
        op.execute(PROJECTS_ON_SQLITE)


def _drop_projects_on_sqlite() -> None:
    connection = op.get_bind()
    made = sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'projects'")
    if MADE_BY in (connection.scalar(made) or "") and not connection.scalar(
        sa.text("SELECT EXISTS (SELECT 1 FROM projects)")
    ):
        op.drop_table("projects")


def _traces() -> None:
    op.create_table(
        "traces",
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
    )


def _child_tables() -> None:
    op.create_table(
        "trace_principle_scores",
        _of_trace(),
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
    op.create_table(
        "trace_stages",
        _of_trace(),
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
    op.create_table(
        "trace_decisions",
        _of_trace(),
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
    op.create_table(
        "trace_sources",
        _of_trace(),
        Column("source", String(200), primary_key=True),
        Column("collected", Integer),
        Column("kept", Integer),
        Column("filtered", Integer),
        Column("mean_score", Float),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trace_model_usage",
        _of_trace(),
        Column("model", String(200), primary_key=True),
        Column("calls", Integer),
        Column("input_tokens", Integer),
        Column("output_tokens", Integer),
        Column("cost_usd", Float),
        sqlite_with_rowid=False,
    )


def _of_trace() -> Column[str]:
    return Column("trace_id", String(100), ForeignKey("traces.trace_id", ondelete="CASCADE"), primary_key=True)


def _indexes() -> None:
    newest = sa.text("started_at DESC")
    for name, column in (
        ("intent", "intent"),
        ("domain", "domain"),
        ("report_type", "report_type"),
        ("quality_gate", "quality_gate_passed"),
        ("project_name", "project_name"),
    ):
        op.create_index(f"idx_traces_{name}", "traces", [column, newest])
    op.create_index("idx_traces_started", "traces", [newest])
    op.create_index("idx_traces_status", "traces", ["status"])
    op.create_index("idx_traces_project", "traces", ["project_id"])
    op.create_index("idx_traces_overall_score", "traces", ["overall_quality_score"])
    if _on_postgresql():
        op.create_index("idx_traces_principle_scores", "traces", ["principle_scores"], postgresql_using="gin")
    true = "true" if _on_postgresql() else "1"
    _partial_index("idx_traces_flagged", "traces", [newest], f"flagged_for_review = {true}")
    _partial_index("idx_traces_parent", "traces", ["parent_trace_id"], "parent_trace_id IS NOT NULL")
    gaps = "status = 'complete' AND score < 2"
    _partial_index("idx_trace_principle_scores_gaps", "trace_principle_scores", ["principle_id", newest], gaps)


def _partial_index(name: str, table: str, columns: list[str | sa.TextClause], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, postgresql_where=condition, sqlite_where=condition)


def _updated_at() -> None:
    if _on_postgresql():
        op.execute(FUNCTION)
        op.execute(TRIGGER_ON_POSTGRESQL)
    else:
        op.execute(TRIGGER_ON_SQLITE)


PROJECTS_ON_POSTGRESQL = f"""
DO $$
BEGIN
    IF to_regclass('projects') IS NULL THEN
        CREATE TABLE projects (id UUID DEFAULT gen_random_uuid() PRIMARY KEY, name TEXT NOT NULL);
        COMMENT ON TABLE projects IS '{MADE_BY}';
        ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
        {access.privileges("projects")}
    END IF;
END $$
"""
PROJECTS_ON_SQLITE = f"""
CREATE TABLE IF NOT EXISTS projects (
    id TEXT NOT NULL PRIMARY KEY,  -- {MADE_BY}
    name TEXT NOT NULL
)
"""
DROP_PROJECTS = f"""
DO $$
BEGIN
    IF obj_description(to_regclass('projects'), 'pg_class') = '{MADE_BY}'
        AND NOT EXISTS (SELECT 1 FROM projects)
    THEN
        DROP TABLE projects;
    END IF;
EXCEPTION WHEN dependent_objects_still_exist THEN
    RAISE NOTICE 'projects stays: other tables refer to it';
END $$
"""  # noqa: S608 # a constant of this file
FUNCTION = f"""
DO $do$
BEGIN
    IF to_regprocedure('update_updated_at_column()') IS NULL THEN
        CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS
        $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$;
        COMMENT ON FUNCTION update_updated_at_column() IS '{MADE_BY}';
    END IF;
END $do$
"""
DROP_FUNCTION = f"""
DO $$
BEGIN
    IF obj_description(to_regprocedure('update_updated_at_column()'), 'pg_proc') = '{MADE_BY}' THEN
        DROP FUNCTION update_updated_at_column();
    END IF;
EXCEPTION WHEN dependent_objects_still_exist THEN
    RAISE NOTICE 'update_updated_at_column() stays: other triggers use it';
END $$
"""
TRIGGER_ON_POSTGRESQL = """
CREATE TRIGGER update_traces_updated_at BEFORE UPDATE ON traces
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()
"""
TRIGGER_ON_SQLITE = """
CREATE TRIGGER update_traces_updated_at AFTER UPDATE ON traces
FOR EACH ROW WHEN NEW.updated_at IS OLD.updated_at
BEGIN
    UPDATE traces SET updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now') WHERE trace_id = NEW.trace_id;
END
"""
