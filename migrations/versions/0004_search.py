"""Search in queries and decisions: an index on Postgres; on SQLite a list of changed runs and the table they go to.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
created = "20261123100300"


def upgrade() -> None:
    """Make what a search needs, for the runs that are there too."""
    for statement in ON_POSTGRESQL if _on_postgresql() else ON_SQLITE:
        op.execute(statement)


def downgrade() -> None:
    """Remove it."""
    for statement in DOWN_ON_POSTGRESQL if _on_postgresql() else DOWN_ON_SQLITE:
        op.execute(statement)


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


# Joined words (host names, paths, file names, signed numbers) are taken apart, as FTS5 does. A longer query would not
# fit into an index, and the row would be refused. The odd word keeps phrases from reaching from one text into the next.
ON_POSTGRESQL = (
    """
    CREATE INDEX idx_traces_search ON traces USING gin (to_tsvector('simple'::regconfig,
        translate(left(coalesce(query, ''), 20000), '-/.@_+&<>=#~', '            ')))
    """,
    """
    CREATE INDEX idx_trace_decisions_search ON trace_decisions USING gin (to_tsvector('simple'::regconfig,
        translate(coalesce(what, '') || ' zqxzqx ' || coalesce(why, ''), '-/.@_+&<>=#~', '            ')))
    """,
)
DOWN_ON_POSTGRESQL = ("DROP INDEX idx_trace_decisions_search", "DROP INDEX idx_traces_search")

# FTS5 keeps the words only, not the texts, which the rows have. Numbers are never used again (AUTOINCREMENT), because
# a run that is written again leaves its old words under its old number.
ON_SQLITE = (
    "CREATE TABLE trace_search_queue (id INTEGER PRIMARY KEY, trace_id TEXT NOT NULL)",
    "CREATE TABLE trace_search_runs (id INTEGER PRIMARY KEY AUTOINCREMENT, trace_id TEXT NOT NULL UNIQUE)",
    """
    CREATE VIRTUAL TABLE trace_search
    USING fts5 (words, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 0')
    """,
    """
    CREATE TRIGGER trace_search_new AFTER INSERT ON traces
    BEGIN
        INSERT INTO trace_search_queue (trace_id) VALUES (NEW.trace_id);
    END
    """,
    """
    CREATE TRIGGER trace_search_changed AFTER UPDATE OF query ON traces
    BEGIN
        INSERT INTO trace_search_queue (trace_id) VALUES (NEW.trace_id);
    END
    """,
    "INSERT INTO trace_search_queue (trace_id) SELECT trace_id FROM traces",
)
DOWN_ON_SQLITE = (
    "DROP TRIGGER trace_search_new",
    "DROP TRIGGER trace_search_changed",
    "DROP TABLE trace_search",
    "DROP TABLE trace_search_runs",
    "DROP TABLE trace_search_queue",
)
