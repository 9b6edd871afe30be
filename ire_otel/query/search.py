"""Search in what runs asked, chose and reasoned, with the same meaning on Postgres (tsvector) and SQLite (FTS5).

Whoever writes a run only marks it. Its words are taken in later: in the background by a process that traces runs, and
by a search, of what is left.
"""

import logging
import re
from datetime import datetime
from time import monotonic
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql import TSQUERY

from ire_otel import values
from ire_otel.db.search_index import BLANKS, JOINERS, take_in, taken_in, words_on_sqlite
from ire_otel.db.tables import trace_search_pending, traces
from ire_otel.query.conditions import newest_runs, window
from ire_otel.query.execution import Brain
from ire_otel.query.results import QueryError, Results, TraceResult

logger = logging.getLogger("ire_otel")

TERMS: Final = 32
"""Most words and phrases of a search that count; the rest is left out."""
PATIENCE: Final = 5.0
"""Seconds for which a search takes words in."""
TERM_LENGTH: Final = 500
"""Characters of a word or phrase that count."""

_TERM: Final = re.compile(r'"([^"]*)"?(\*?)|([^\s"]+)')


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
    separate words. Any text can be searched for; one without a word finds nothing. Runs whose words nobody has taken in
    yet are taken in first, the newest first, for at most PATIENCE seconds; if some are left, a warning says so.
    """
    wanted = terms(text)
    if not wanted:
        return Results()
    _catch_up(brain.connection)
    on_sqlite = brain.connection.dialect.name == "sqlite"
    found = _matching_on_sqlite(wanted) if on_sqlite else _matching_on_postgresql(wanted)
    return newest_runs(brain, limit, traces.c.trace_id.in_(found), *window(since, until))


def _catch_up(connection: sa.Connection) -> None:
    """Take in what whoever writes runs has not taken in, in the background, since."""
    deadline = monotonic() + PATIENCE
    try:
        while take_in(connection, wait=True):
            if monotonic() > deadline:
                break
        else:
            return
    except exc.DBAPIError as error:
        connection.rollback()
        if getattr(error.orig, "sqlstate", None) != _LOCK_TIMEOUT:
            raise
    left = connection.scalar(sa.select(sa.func.count(trace_search_pending.c.trace_id.distinct())))
    if left:
        logger.warning("%d older runs are not searched yet: their words are taken in, search again", left)


_LOCK_TIMEOUT: Final = "55P03"


def terms(text: Any) -> list[Term]:
    """Read what somebody typed into a search box. Pure. Raises QueryError where it is no text."""
    if not isinstance(text, str):
        raise QueryError(f"text cannot be {text!r}: give words to search for")
    found = []
    for phrase, star, word in _TERM.findall(values.well_formed(text).replace("\0", " ")):
        term = Term((phrase or word)[:TERM_LENGTH], bool(star) or word.endswith("*"))
        if any(sign.isalnum() for sign in term.text):
            found.append(term)
    return found[:TERMS]


def _matching_on_postgresql(wanted: list[Term]) -> sa.Select[str]:
    query = _tsquery(wanted[0])
    for term in wanted[1:]:
        query = query.op("&&")(_tsquery(term))
    return sa.select(taken_in.c.trace_id).where(taken_in.c.words.bool_op("@@")(query))


def _tsquery(term: Term) -> sa.ColumnElement[Any]:
    words = sa.func.translate(sa.literal(term.text), JOINERS, BLANKS)
    query: sa.ColumnElement[Any] = sa.func.phraseto_tsquery(sa.text("'simple'"), words)
    if not term.prefix:
        return query
    # The query's own text is well quoted; an empty one takes no mark.
    marked = sa.cast(sa.cast(query, sa.Text).concat(":*"), TSQUERY)
    return sa.case((sa.func.numnode(query) > 0, marked), else_=query)


def _matching_on_sqlite(wanted: list[Term]) -> sa.Select[str]:
    # In quotes, and a quote cannot be in there, nothing is an operator.
    match = " ".join(f'"{term.text}"{"*" * term.prefix}' for term in wanted)
    found = sa.select(words_on_sqlite.c.rowid).where(words_on_sqlite.c.trace_search_words.match(match))
    return sa.select(taken_in.c.trace_id).where(taken_in.c.id.in_(found))
