"""Indexes for unfinished runs; on Postgres also for the costliest and the slowest, and for the types of decisions.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
created = "20261125140000"


def upgrade() -> None:
    """Make them."""
    unfinished: list[str | sa.TextClause] = ["intent", "status", sa.text("started_at DESC")]
    _partial_index("idx_traces_unfinished", unfinished, "status != 'complete'")
    if _on_postgresql():
        # There they cost a run 2 % more; on SQLite those of the runs 14 %, and that of the decisions a third.
        _partial_index("idx_traces_cost", ["cost_usd"], "cost_usd IS NOT NULL")
        _partial_index("idx_traces_duration", ["duration_seconds"], "duration_seconds IS NOT NULL")
        op.create_index("idx_trace_decisions_type", "trace_decisions", ["decision_type"])


def downgrade() -> None:
    """Remove them."""
    if _on_postgresql():
        op.drop_index("idx_trace_decisions_type", "trace_decisions")
        op.drop_index("idx_traces_duration", "traces")
        op.drop_index("idx_traces_cost", "traces")
    op.drop_index("idx_traces_unfinished", "traces")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _partial_index(name: str, columns: list[str | sa.TextClause], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "traces", columns, postgresql_where=condition, sqlite_where=condition)
