"""Where a run is in Jaeger's page.

Revision ID: 0006
Revises: 0005
"""

from alembic import op
from sqlalchemy import Column, String

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
created = "20261125120000"


def upgrade() -> None:
    """Add the column, empty: `ire-otel db reindex` fills it where `jaeger_url` is set."""
    op.add_column("traces", Column("jaeger_url", String(500)))


def downgrade() -> None:
    """Remove it; the settings say it again."""
    op.drop_column("traces", "jaeger_url")
