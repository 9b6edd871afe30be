"""Indexes for the costliest, the slowest and the unfinished runs, and for the types of decisions.

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
    _partial_index("idx_traces_cost", "traces", ["cost_usd"], "cost_usd IS NOT NULL")
    _partial_index("idx_traces_duration", "traces", ["duration_seconds"], "duration_seconds IS NOT NULL")
    unfinished: list[str | sa.TextClause] = ["intent", "status", sa.text("started_at DESC")]
    _partial_index("idx_traces_unfinished", "traces", unfinished, "status != 'complete'")
    if _on_postgresql():
        # There it costs a run 2 % more, on SQLite a third.
        op.create_index("idx_trace_decisions_type", "trace_decisions", ["decision_type"])


def downgrade() -> None:
    """Remove them."""
    if _on_postgresql():
        op.drop_index("idx_trace_decisions_type", "trace_decisions")
    for name in ("unfinished", "duration", "cost"):
        op.drop_index(f"idx_traces_{name}", "traces")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _partial_index(name: str, table: str, columns: list[str | sa.TextClause], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, postgresql_where=condition, sqlite_where=condition)
