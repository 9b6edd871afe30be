"""The stage that a run is in while it goes on.

Revision ID: 0005
Revises: 0004
"""

from alembic import op
from sqlalchemy import Column, String

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
created = "20261125100400"


def upgrade() -> None:
    """Add the column, empty: whoever goes on fills it."""
    op.add_column("traces", Column("current_stage", String(100)))


def downgrade() -> None:
    """Remove it; the files know nothing of it."""
    op.drop_column("traces", "current_stage")
