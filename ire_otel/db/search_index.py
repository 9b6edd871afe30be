"""The index that a search uses: which runs it lacks, and how their words are taken in after the runs were written."""

from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as insert_on_postgresql

from ire_otel.db.tables import trace_decisions, traces
from ire_otel.db.tables import trace_search_pending as pending

SEARCHED: Final = 200_000
"""Characters of a run that are searched: a tsvector holds 1 MB, and 4 bytes a character are possible."""
BATCH: Final = 50
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


def take_in(connection: sa.Connection, *, wait: bool = False) -> bool:
    """Take in the words of some runs that are new or have changed, the newest first, in a transaction of its own.

    wait: on Postgres, where somebody else is at it, until they are done, for a few seconds. Gives whether there may be
    more.
    """
    connection.rollback()
    on_sqlite = connection.dialect.name == "sqlite"
    if on_sqlite:
        if not connection.scalar(sa.select(pending.c.id).limit(1)):
            # Nobody has to wait for a look.
            connection.rollback()
            return False
        connection.rollback()
        connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    try:
        return _take_in_newest(connection, wait=wait)
    finally:
        connection.execution_options(sqlite_begin="BEGIN")


def _take_in_newest(connection: sa.Connection, *, wait: bool) -> bool:
    on_sqlite = connection.dialect.name == "sqlite"
    with connection.begin():
        if not on_sqlite and not _is_ours(connection, wait=wait):
            return False
        newest = sa.select(pending.c.id, pending.c.trace_id).order_by(pending.c.id.desc()).limit(BATCH)
        waiting = connection.execute(newest).all()
        if waiting:
            trace_ids = {trace_id for _, trace_id in waiting}
            (_take_in_on_sqlite if on_sqlite else _take_in_on_postgresql)(connection, trace_ids)
            # Only those: a run that is written meanwhile is waiting again.
            connection.execute(sa.delete(pending).where(pending.c.id.in_([id_ for id_, _ in waiting])))
    return len(waiting) == BATCH


def _is_ours(connection: sa.Connection, *, wait: bool) -> bool:
    """Take the lock until the transaction ends; False where somebody else has it."""
    if not wait:
        return connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(LOCK))) is True
    connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    return True


def _take_in_on_postgresql(connection: sa.Connection, trace_ids: Collection[str]) -> None:
    words = sa.func.to_tsvector(sa.text("'simple'"), sa.func.translate(_TEXT, JOINERS, BLANKS))
    statement = insert_on_postgresql(taken_in).from_select(
        ["trace_id", "updated_at", "words"], _these(trace_ids, traces.c.trace_id, traces.c.updated_at, words)
    )
    replaced = {name: statement.excluded[name] for name in ("updated_at", "words")}
    connection.execute(statement.on_conflict_do_update(index_elements=["trace_id"], set_=replaced))


def _take_in_on_sqlite(connection: sa.Connection, trace_ids: Collection[str]) -> None:
    last = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(taken_in.c.id), 0)))
    numbered = sa.insert(taken_in).prefix_with("OR REPLACE")
    these = _these(trace_ids, traces.c.trace_id, traces.c.updated_at)
    connection.execute(numbered.from_select(["trace_id", "updated_at"], these))
    new = sa.select(taken_in.c.id, _TEXT).join(traces, traces.c.trace_id == taken_in.c.trace_id)
    fts = sa.table("trace_search_words", sa.column("rowid"), sa.column("words"))
    connection.execute(sa.insert(fts).from_select(["rowid", "words"], new.where(taken_in.c.id > last)))


def _these(trace_ids: Collection[str], *columns: sa.ColumnElement[Any]) -> sa.Select[*tuple[Any, ...]]:
    return sa.select(*columns).where(traces.c.trace_id.in_(trace_ids))


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
