"""The words of queries and decisions. Only a search writes here: keeping an index as runs are written triples the cost.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

from ire_otel.db import access

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
created = "20261123100300"


def upgrade() -> None:
    """Make the empty tables; the first search fills them."""
    for statement in ON_POSTGRESQL if _on_postgresql() else ON_SQLITE:
        op.execute(statement)
    access.close(op, "trace_search")


def downgrade() -> None:
    """Remove them; nothing is lost."""
    if not _on_postgresql():
        op.execute("DROP TABLE trace_search_words")
    op.execute("DROP TABLE trace_search")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


# updated_at is that of the run when its words were taken in: where the two differ, the run has changed since.
ON_POSTGRESQL = (
    """
    CREATE TABLE trace_search (
        trace_id VARCHAR(100) PRIMARY KEY REFERENCES traces (trace_id) ON DELETE CASCADE,
        updated_at TIMESTAMPTZ NOT NULL,
        words TSVECTOR NOT NULL
    )
    """,
    "CREATE INDEX idx_trace_search_words ON trace_search USING gin (words)",
)
# FTS5 keeps the words only, not the texts, which the rows have. It cannot forget words without being told the text, so
# a run that has changed gets a new number (AUTOINCREMENT: never one that was used), and its old one leads nowhere.
ON_SQLITE = (
    """
    CREATE TABLE trace_search (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        trace_id TEXT NOT NULL UNIQUE REFERENCES traces (trace_id) ON DELETE CASCADE,
        updated_at TEXT NOT NULL
    )
    """,
    """
    CREATE VIRTUAL TABLE trace_search_words
    USING fts5 (words, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 0')
    """,
)
