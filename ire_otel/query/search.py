"""Search in what runs asked, chose and reasoned, on Postgres and SQLite with the same meaning.

Postgres keeps its index as rows are written. SQLite's is brought up to date by the search itself, because keeping an
FTS5 table as runs are written costs more than writing them: a trigger only notes which runs have changed.
"""

import re
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSQUERY

from ire_otel import values
from ire_otel.db.tables import BETWEEN, JOINERS, SEARCHED_DECISION, SEARCHED_QUERY, trace_decisions, traces
from ire_otel.query.conditions import newest_runs, window
from ire_otel.query.execution import Brain
from ire_otel.query.results import QueryError, Results, TraceResult

TERMS: Final = 32
"""Most words and phrases of a search that count; the rest is left out."""
TERM_LENGTH: Final = 500
"""Characters of a word or phrase that count."""
BATCH: Final = 200
"""Runs that SQLite's index takes in at a time: writers wait no longer than for these."""

_TERM: Final = re.compile(r'"([^"]*)"?(\*?)|([^\s"]+)')
_SIMPLE: Final[sa.ColumnElement[Any]] = sa.literal_column("'simple'::regconfig")


class Term(NamedTuple):
    """A word or a phrase that must occur."""

    text: str
    prefix: bool
    """True: the last word may go on."""


def search(
    brain: Brain, text: str, limit: int = 50, *, since: datetime | None = None, until: datetime | None = None
) -> Results[TraceResult]:
    """Give the runs that hold every word of `text`, in the query or in what and why of any decision, newest first.

    `"several words"` must follow one another; `begin*` stands for all words that begin so. Case does not count, signs
    separate words. Any text can be searched for; one without a word finds nothing.
    """
    wanted = terms(text)
    if not wanted:
        return Results()
    if brain.connection.dialect.name == "sqlite":
        _catch_up(brain.connection)
        conditions = [traces.c.trace_id.in_(_matching_on_sqlite(wanted))]
    else:
        conditions = [traces.c.trace_id.in_(_matching_on_postgresql(term)) for term in wanted]
    return newest_runs(brain, limit, *conditions, *window(since, until))


def terms(text: str) -> list[Term]:
    """Read what somebody typed into a search box. Pure."""
    if not isinstance(text, str):
        raise QueryError(f"text cannot be {text!r}: give words to search for")
    found = []
    for phrase, star, word in _TERM.findall(values.well_formed(text).replace("\0", " ")):
        term = Term((phrase or word)[:TERM_LENGTH], bool(star) or word.endswith("*"))
        if any(sign.isalnum() for sign in term.text):
            found.append(term)
    return found[:TERMS]


def _matching_on_postgresql(term: Term) -> sa.CompoundSelect[Any]:
    words = sa.func.translate(sa.literal(term.text), JOINERS, " " * len(JOINERS))
    query: sa.ColumnElement[Any] = sa.func.phraseto_tsquery(_SIMPLE, words)
    if term.prefix:
        # The query's own text is well quoted; an empty one takes no mark.
        marked = sa.cast(sa.cast(query, sa.Text).concat(":*"), TSQUERY)
        query = sa.case((sa.func.numnode(query) > 0, marked), else_=query)
    return sa.union_all(
        sa.select(traces.c.trace_id).where(SEARCHED_QUERY.bool_op("@@")(query)),
        sa.select(trace_decisions.c.trace_id).where(SEARCHED_DECISION.bool_op("@@")(query)),
    )


_index: Final = sa.table("trace_search", sa.column("rowid"), sa.column("trace_search"))
_indexed: Final = sa.table("trace_search_runs", sa.column("id"), sa.column("trace_id", sa.Text))


def _matching_on_sqlite(wanted: list[Term]) -> sa.Select[Any]:
    # In quotes, and a quote cannot be in there, nothing is an operator.
    match = " ".join(f'"{term.text}"{"*" * term.prefix}' for term in wanted)
    found = sa.select(_index.c.rowid).where(_index.c.trace_search.match(match))
    return sa.select(_indexed.c.trace_id).where(_indexed.c.id.in_(found))


def _catch_up(connection: sa.Connection) -> None:
    """Take the runs that have changed into SQLite's index, in transactions of their own."""
    while connection.scalar(_WAITING):
        connection.rollback()
        connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        try:
            upto = {"upto": connection.scalar(_UPTO, {"batch": BATCH})}
            for statement in (_RENUMBER, _TAKE_IN, _DONE):
                connection.execute(statement, upto)
            connection.commit()
        finally:
            connection.execution_options(sqlite_begin="BEGIN")


_WAITING: Final = sa.text("SELECT EXISTS (SELECT 1 FROM trace_search_queue)")
_UPTO: Final = sa.text("SELECT max(id) FROM (SELECT id FROM trace_search_queue ORDER BY id LIMIT :batch)")
# A rewritten run gets a new number, because its old text, which FTS5 would need to take it out, is gone: what stands
# under the old number leads nowhere.
_RENUMBER: Final = sa.text(
    "INSERT OR REPLACE INTO trace_search_runs (trace_id)"
    " SELECT DISTINCT trace_id FROM trace_search_queue WHERE id <= :upto"
)
_TAKE_IN: Final = sa.text(
    "INSERT INTO trace_search (rowid, words) SELECT runs.id, coalesce(substr(traces.query, 1, 20000), '') || coalesce("
    "(SELECT group_concat(:between || coalesce(what, '') || :between || coalesce(why, ''), '')"
    " FROM trace_decisions WHERE trace_decisions.trace_id = traces.trace_id), '')"
    " FROM trace_search_runs AS runs JOIN traces USING (trace_id)"
    " WHERE runs.trace_id IN (SELECT trace_id FROM trace_search_queue WHERE id <= :upto)"
).bindparams(between=f" {BETWEEN} ")
_DONE: Final = sa.text("DELETE FROM trace_search_queue WHERE id <= :upto")
