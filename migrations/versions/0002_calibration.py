"""The tables of calibration: flags that were raised, and what people said about runs.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, Float, Integer, String, Text, text

from ire_otel.db import access
from ire_otel.db.types import JsonObject, RandomUuid, UtcDateTime, UtcNow, Uuid

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
created = "20261123100100"


def upgrade() -> None:
    """Make both tables."""
    _flags()
    _calibrations()
    access.close(op, "trace_flags", "trace_calibrations")


def downgrade() -> None:
    """Remove them; what people said stays in the review files."""
    op.drop_table("trace_calibrations")
    op.drop_table("trace_flags")


def _flags() -> None:
    op.create_table(
        "trace_flags",
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
        sa.UniqueConstraint("policy", "principle_id", "intent", "report_type"),
    )
    op.create_index("idx_trace_flags_status", "trace_flags", ["status", text("last_raised_at DESC")])


def _calibrations() -> None:
    op.create_table(
        "trace_calibrations",
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
    op.create_index("idx_trace_calibrations_trace", "trace_calibrations", ["trace_id"])
