"""Keep the daily sums: which days' sums are out of date, and how they are made anew.

Nobody keeps them up to date while runs are written. A trigger marks the day of every run that is written or removed,
in the same transaction. To sum up a day replaces its sums and removes the marks that were seen, and only those: who
commits later leaves a mark, so the views read that day's runs instead. They are always right, however old the sums.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from ire_otel.db.daily_tables import DAILY, stale_days

MARKS: Final = 1_000
"""Runs written since, after which a day is summed up though it is not over."""
LOCK: Final = 0x6972655F73756D73
"""Key of the Postgres advisory lock that only one process holds while it sums up; spells ire_sums."""


def due(connection: sa.Connection, *, everything: bool = False) -> list[date]:
    """Give the days that are worth summing up, the newest first: those that are over, or have changed a lot.

    The views read the runs of a few other days as fast; summed up, those would be out of date with the next run.
    """
    today, marks = datetime.now(UTC).date(), sa.func.count()
    statement = sa.select(stale_days.c.day).group_by(stale_days.c.day).order_by(stale_days.c.day.desc())
    if not everything:
        statement = statement.having((stale_days.c.day < today) | (marks >= MARKS))
    return list(connection.scalars(statement))


def sum_up(connection: sa.Connection, days: Sequence[date]) -> bool:
    """Make the sums of these days anew, in a transaction of its own; False where somebody else is at it."""
    with _alone(connection) as alone:
        if alone:
            others = _set_aside(connection, days)
            for name, table in DAILY.items():
                connection.execute(sa.delete(table).where(table.c.day.in_(days)))
                columns = [column for column in table.c if not column.primary_key]
                found = sa.select(*(sa.column(column.name, column.type) for column in columns))
                made = found.select_from(sa.table(f"trace_stale_{name}"))
                connection.execute(sa.insert(table).from_select([column.name for column in columns], made))
            connection.execute(sa.delete(stale_days))
            if others:
                connection.execute(sa.insert(stale_days), others)
    return alone


def _set_aside(connection: sa.Connection, days: Sequence[date]) -> list[dict[str, date]]:
    """Take the marks of all other days away, to be put back: the views are about whatever days are marked."""
    others = sa.delete(stale_days).where(stale_days.c.day.not_in(days)).returning(stale_days.c.day)
    return [{"day": day} for day in set(connection.scalars(others))]


@contextmanager
def _alone(connection: sa.Connection) -> Iterator[bool]:
    """Open a transaction that sees one state of the database, and in which nobody else sums up; True if so."""
    connection.rollback()
    if connection.dialect.name == "sqlite":
        connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        try:
            with connection.begin():
                yield True
        finally:
            connection.execution_options(sqlite_begin="BEGIN")
        return
    with connection.begin():
        # Of its own snapshot, so that exactly the marks are removed whose runs were seen.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # The planner knows neither how many runs a day has nor how few groups they make.
        connection.exec_driver_sql("SET LOCAL jit = off")
        connection.exec_driver_sql("SET LOCAL enable_sort = off")
        yield connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(LOCK))) is True


def is_about_others(error: exc.DBAPIError) -> bool:
    """Tell whether summing up failed because somebody else summed up the same days just before."""
    return getattr(error.orig, "sqlstate", None) == "40001"
