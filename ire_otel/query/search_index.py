"""The index that a search uses, caught up by the search itself: which runs it lacks, how it takes their words in."""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as insert_on_postgresql

from ire_otel.db.tables import trace_decisions, traces

SEARCHED: Final = 200_000
"""Characters of a run that are searched: a tsvector holds 1 MB, and 4 bytes a character are possible."""
BATCH: Final = 200
"""Runs whose words are taken in at a time: on SQLite, writers wait no longer than for these."""
JOINERS: Final = "-/.@_+&<>=#~"
"""Signs that join words for Postgres (host names, paths, signed numbers); a search sees blanks in their place."""
BLANKS: Final = " " * len(JOINERS)
BETWEEN: Final = " zqxzqx "
"""Stands between two texts of a run, so that no phrase reaches from one into the other."""
LOCK: Final = 0x6972655F66696E64
"""Key of the Postgres advisory lock that only one search holds while it takes words in; spells ire_find."""

taken_in: Final = sa.table(
    "trace_search",
    sa.column("id", sa.Integer),
    sa.column("trace_id", sa.Text),
    sa.column("updated_at", traces.c.updated_at.type),
    sa.column("words"),
)
"""The runs whose words are in the index, as they were at `updated_at`; `id` on SQLite, `words` on Postgres only."""
words_on_sqlite: Final = sa.table("trace_search_words", sa.column("rowid"), sa.column("trace_search_words"))
"""The FTS5 table, whose column of its own name takes what is to match."""


def catch_up(connection: sa.Connection) -> None:
    """Take in the words of the runs that are new or have changed, in transactions of their own."""
    take_in = _take_in_on_sqlite if connection.dialect.name == "sqlite" else _take_in_on_postgresql
    changed = connection.scalars(sa.select(traces.c.trace_id).where(_CHANGED)).all()
    connection.rollback()
    connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    for first in range(0, len(changed), BATCH):
        take_in(connection, changed[first : first + BATCH])
        connection.commit()
    connection.execution_options(sqlite_begin="BEGIN")


def _take_in_on_postgresql(connection: sa.Connection, trace_ids: Sequence[str]) -> None:
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    words = sa.func.to_tsvector(sa.text("'simple'"), sa.func.translate(_TEXT, JOINERS, BLANKS))
    statement = insert_on_postgresql(taken_in).from_select(
        ["trace_id", "updated_at", "words"], _these(trace_ids, traces.c.trace_id, traces.c.updated_at, words)
    )
    replaced = {name: statement.excluded[name] for name in ("updated_at", "words")}
    connection.execute(statement.on_conflict_do_update(index_elements=["trace_id"], set_=replaced))


def _take_in_on_sqlite(connection: sa.Connection, trace_ids: Sequence[str]) -> None:
    last = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(taken_in.c.id), 0)))
    numbered = sa.insert(taken_in).prefix_with("OR REPLACE")
    these = _these(trace_ids, traces.c.trace_id, traces.c.updated_at)
    connection.execute(numbered.from_select(["trace_id", "updated_at"], these))
    new = sa.select(taken_in.c.id, _TEXT).join(traces, traces.c.trace_id == taken_in.c.trace_id)
    fts = sa.table("trace_search_words", sa.column("rowid"), sa.column("words"))
    connection.execute(sa.insert(fts).from_select(["rowid", "words"], new.where(taken_in.c.id > last)))


def _these(trace_ids: Sequence[str], *columns: sa.ColumnElement[Any]) -> sa.Select[*tuple[Any, ...]]:
    # What another search has taken in by now has not changed any more.
    return sa.select(*columns).where(traces.c.trace_id.in_(trace_ids), _CHANGED)


_CHANGED: Final = ~sa.exists().where(
    taken_in.c.trace_id == traces.c.trace_id, taken_in.c.updated_at == traces.c.updated_at
)
_decision: Final = sa.literal(BETWEEN).concat(sa.func.coalesce(trace_decisions.c.what, ""))
_reason: Final = sa.literal(BETWEEN).concat(sa.func.coalesce(trace_decisions.c.why, ""))
_decisions: Final = (
    sa.select(sa.func.aggregate_strings(_decision.concat(_reason), ""))
    .where(trace_decisions.c.trace_id == traces.c.trace_id)
    .correlate(traces)
    .scalar_subquery()
)
_TEXT: Final = sa.func.substr(
    sa.func.coalesce(traces.c.query, "").concat(sa.func.coalesce(_decisions, "")), 1, SEARCHED
)
