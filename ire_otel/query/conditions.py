"""What every query checks and says in the same way: texts, limits, windows of time, the order of the answer."""

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from ire_otel import values
from ire_otel.db.tables import traces, unfinished
from ire_otel.query.execution import Brain
from ire_otel.query.results import QueryError, Results, TraceResult, run_result

LIMIT: Final = 100_000
"""Most entries that one answer holds; iter_runs gives more, a page at a time."""

Condition = sa.ColumnElement[bool]

RUN_COLUMNS: Final = tuple(traces.c[name] for name in TraceResult.__struct_fields__)
NEWEST: Final = (traces.c.started_at.desc(), traces.c.trace_id.desc())
COMPLETE: Final = traces.c.status == sa.literal_column("'complete'")
"""Spelt out, not bound: a partial index serves only a condition that can be read off the statement."""


def newest_runs(brain: Brain, limit: int, *conditions: Condition) -> Results[TraceResult]:
    """Give the runs that fit all conditions, newest first."""
    return runs(brain, sa.select(*RUN_COLUMNS).where(*conditions).order_by(*NEWEST), limit)


def runs(brain: Brain, statement: sa.Select[Any], limit: int) -> Results[TraceResult]:
    """Give the runs that a statement on RUN_COLUMNS selects."""
    found = brain.connection.execute(statement.limit(checked_limit(limit)))
    return Results(run_result(row) for row in found.mappings())


def equal(column: sa.ColumnElement[Any], value: Any) -> Condition:
    """Compare a column with a text, as rows hold it."""
    same: Condition = column == held(column, value)
    return same


def held(column: sa.ColumnElement[Any], value: Any) -> str:
    """Give a text as rows hold it: cut to the column's width, without NUL and lone surrogates. Raises QueryError."""
    if not isinstance(value, str):
        raise QueryError(f"{column.key} cannot be {value!r}: give a text")
    width = getattr(column.type, "length", None)
    return values.well_formed(value).replace("\0", "\ufffd")[:width]


def chosen(**wanted: str | None) -> list[Condition]:
    """Compare columns of `traces`, by name, with what is not None."""
    conditions = [equal(traces.c[name], value) for name, value in wanted.items() if value is not None]
    if wanted.get("status") not in {None, "complete"}:
        conditions.append(unfinished)
    return conditions


def window(
    since: datetime | None, until: datetime | None, started_at: sa.ColumnElement[datetime] = traces.c.started_at
) -> list[Condition]:
    """Keep what began at `since` or later, and before `until`; a time without a zone is local."""
    begin, end = utc("since", since), utc("until", until)
    conditions = []
    if begin is not None:
        conditions.append(started_at >= begin)
    if end is not None:
        conditions.append(started_at < end)
    return conditions


def checked_limit(limit: Any, name: str = "limit") -> int:
    """Give `limit` back. Raises QueryError unless it is a whole number from 1 to LIMIT."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= LIMIT:
        remedy = " (iter_runs gives any number of runs)" if name == "limit" else ""
        raise QueryError(f"{name} cannot be {limit!r}: give a whole number from 1 to {LIMIT:,}{remedy}")
    return limit


def utc(name: str, moment: Any) -> datetime | None:
    """Give a time in UTC; one without a zone is local. Raises QueryError."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        raise QueryError(f"{name} cannot be {moment!r}: give a datetime")
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise QueryError(f"{name} cannot be {moment!r}: it is out of range") from error
