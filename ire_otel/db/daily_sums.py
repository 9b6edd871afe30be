"""Keep the daily sums: which days' sums are out of date, and how they are made anew.

Nobody keeps them up to date while runs are written. A trigger marks the day of every run that is written or removed,
in the same transaction. To sum up a day replaces its sums and removes the marks that were seen, and only those: who
commits later leaves a mark, so the views read that day's runs instead. They are always right, however old the sums.
"""

import json
from datetime import UTC, date, datetime
from typing import Any, Final

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


def sum_up(connection: sa.Connection, day: date) -> bool:
    """Make the sums of a day anew, in transactions of its own; False where somebody else is at it."""
    connection.rollback()
    return (_sum_up_on_sqlite if connection.dialect.name == "sqlite" else _sum_up_on_postgresql)(connection, day)


def _sum_up_on_postgresql(connection: sa.Connection, day: date) -> bool:
    with connection.begin():
        # Of one snapshot, so that exactly the marks are removed whose runs were seen.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # The planner knows neither how many runs a day has nor how few groups they make.
        connection.exec_driver_sql("SET LOCAL jit = off")
        # Sums are for everybody: who may see only some of the runs fails here instead.
        connection.exec_driver_sql("SET LOCAL row_security = off")
        connection.exec_driver_sql("SET LOCAL enable_sort = off")
        if connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(LOCK))) is not True:
            return False
        if connection.scalar(sa.select(stale_days.c.id).where(stale_days.c.day == day).limit(1)) is None:
            # Somebody else has summed it up since.
            return True
        # The views are about whatever days are marked, so the marks of all others go away for a moment.
        others = sa.delete(stale_days).where(stale_days.c.day != day).returning(stale_days.c.day)
        set_aside = list(connection.scalars(others))
        for name, table in DAILY.items():
            columns = _columns(table)
            made = sa.select(*(sa.column(column.name, column.type) for column in columns))
            connection.execute(sa.delete(table).where(table.c.day == day))
            source = made.select_from(sa.table(f"trace_stale_{name}"))
            connection.execute(sa.insert(table).from_select([column.name for column in columns], source))
        connection.execute(sa.delete(stale_days))
        if set_aside:
            connection.execute(sa.insert(stale_days), [{"day": other} for other in set_aside])
    return True


def _sum_up_on_sqlite(connection: sa.Connection, day: date) -> bool:
    """Read in one transaction and write in the next, so that nobody waits while the runs are read."""
    with connection.begin():
        marks = connection.scalars(sa.select(stale_days.c.id).where(stale_days.c.day == day)).all()
        if not marks:
            # Somebody else has summed it up since.
            return True
        made = {table: _made_on_sqlite(connection, name, day) for name, table in DAILY.items()}
    seen = sa.func.json_each(json.dumps(marks)).table_valued("value")
    these = stale_days.c.id.in_(sa.select(seen.c.value))
    connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    try:
        with connection.begin():
            # Ids are random: where all are still there, nobody else has summed up this day since.
            if connection.scalar(sa.select(sa.func.count()).select_from(stale_days).where(these)) != len(marks):
                return False
            for table, rows in made.items():
                connection.execute(sa.delete(table).where(table.c.day == day))
                if rows:
                    names = [column.name for column in _columns(table)]
                    values = f"({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
                    connection.exec_driver_sql(f"INSERT INTO {table.name} {values}", rows)  # our own names
            connection.execute(sa.delete(stale_days).where(these))
    finally:
        connection.execution_options(sqlite_begin="BEGIN")
    return True


def _made_on_sqlite(connection: sa.Connection, name: str, day: date) -> list[tuple[Any, ...]]:
    """Give what the view about stale days would give if this one were marked alone, as the table holds it."""
    view = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = ?", (f"trace_stale_{name}",)).scalar()
    query = str(view).partition(" AS ")[2].replace(f"FROM {stale_days.name}", f"FROM (SELECT '{day}' AS day)")
    names = ", ".join(column.name for column in _columns(DAILY[name]))
    return [tuple(row) for row in connection.exec_driver_sql(f"SELECT {names} FROM ({query})")]  # noqa: S608 # as above


def _columns(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.c if not column.primary_key]


def is_about_others(error: exc.DBAPIError) -> bool:
    """Tell whether summing up failed because somebody else summed up the same days just before."""
    return getattr(error.orig, "sqlstate", None) == "40001"
