"""Which runs the search has yet to take in, so that it need not compare all runs with its index.

Revision ID: 0010
Revises: 0009
"""

from alembic import op
from sqlalchemy import BigInteger, Column, Identity, Integer, String

from ire_otel.db import access

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
created = "20261125140300"


def upgrade() -> None:
    """Make the table, fill it by comparing once, and have it filled with every run that is written."""
    op.create_table(
        "trace_search_pending",
        Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
        Column("trace_id", String(100), nullable=False),
    )
    op.execute(FILL)
    for statement in ON_POSTGRESQL if _on_postgresql() else ON_SQLITE:
        op.execute(statement)
    access.close(op, "trace_search_pending")


def downgrade() -> None:
    """Remove them: the search compares again."""
    for statement in NOT_ON_POSTGRESQL if _on_postgresql() else NOT_ON_SQLITE:
        op.execute(statement)
    op.drop_table("trace_search_pending")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


FILL = """
INSERT INTO trace_search_pending (trace_id)
SELECT trace_id FROM traces
WHERE NOT EXISTS (
    SELECT 1 FROM trace_search
    WHERE trace_search.trace_id = traces.trace_id AND trace_search.updated_at = traces.updated_at
)
ORDER BY started_at
"""
# Writing a run names its query, also where it writes it again; what people say about it does not.
ON_POSTGRESQL = (
    """
CREATE FUNCTION trace_mark_search_pending() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS
$$ BEGIN INSERT INTO trace_search_pending (trace_id) VALUES (NEW.trace_id); RETURN NULL; END $$
""",
    """
CREATE TRIGGER mark_traces_search_pending AFTER INSERT OR UPDATE OF query ON traces
FOR EACH ROW EXECUTE FUNCTION trace_mark_search_pending()
""",
)
NOT_ON_POSTGRESQL = (
    "DROP TRIGGER mark_traces_search_pending ON traces",
    "DROP FUNCTION trace_mark_search_pending()",
)
ON_SQLITE = tuple(
    f"""
CREATE TRIGGER mark_traces_search_pending_{name} AFTER {event} ON traces
BEGIN
    INSERT INTO trace_search_pending (trace_id) VALUES (NEW.trace_id);
END
"""  # noqa: S608 # of this file
    for name, event in (("insert", "INSERT"), ("update", "UPDATE OF query"))
)
NOT_ON_SQLITE = tuple(f"DROP TRIGGER mark_traces_search_pending_{name}" for name in ("insert", "update"))
