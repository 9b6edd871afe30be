"""RunStore: writes the rows of finished runs, several runs in one transaction."""

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from threading import Lock
from typing import Any, Final
from weakref import WeakSet

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect
from sqlalchemy.sql.dml import Insert

from ire_otel.db import tables
from ire_otel.db.arrears import catch_up
from ire_otel.db.engine import Database, database, engine
from ire_otel.db.failures import is_about_content, refusal, unavailable, wrapped
from ire_otel.db.migrate import ensure_current
from ire_otel.db.types import JsonObject, TextList
from ire_otel.errors import IreOtelError, RowRefusedError
from ire_otel.row import DecisionRow, ModelUsageRow, PrincipleScoreRow, Row, RunRow, SourceRow, StageRow
from ire_otel.values import dumps

_CHILDREN: Final[tuple[tuple[sa.Table, type[msgspec.Struct], str], ...]] = (
    (tables.trace_principle_scores, PrincipleScoreRow, "principle_scores"),
    (tables.trace_stages, StageRow, "stages"),
    (tables.trace_decisions, DecisionRow, "decisions"),
    (tables.trace_sources, SourceRow, "sources"),
    (tables.trace_model_usage, ModelUsageRow, "model_usage"),
)
"""Child table, the struct of its rows, and the field of Row that holds them."""
_CUT_SHORT: Final = "its process has not been heard of, and left no journal on this machine"


_FORK_WAIT: Final = 10.0
"""Seconds that a fork waits at most for a transaction on SQLite, or until a day is summed up."""


class RunStore:
    """One connection for writing rows, opened at the first `save` and after a failure. Any thread, one process."""

    def __init__(self, url: str, pooler: str = "") -> None:
        self.database = database(url, pooler)
        self._statements = _Statements(self.database)
        self._connection: sa.PoolProxiedConnection | None = None
        self._lock = Lock()
        if self.database.file is not None:
            _on_sqlite.add(self)

    def save(self, rows: Sequence[Row]) -> dict[str, RowRefusedError]:
        """Write runs in one transaction; a run that has a row already gets it replaced, child rows included.

        What people set (`flagged_for_review`, `review_notes`) and `created_at` are never touched. Returns the runs that
        the database refused for their content, by trace_id; the others are saved all the same.
        Raises StoreUnavailableError; the same rows may then be given again.
        """
        if not rows:
            return {}
        latest = list({row.run.trace_id: row for row in rows}.values())
        with self._lock:
            rejected = self._write(latest)
            if rejected is None:
                return {}
            if len(latest) == 1:
                return {latest[0].run.trace_id: rejected}
            refused = {row.run.trace_id: self._write([row]) for row in latest}
        return {trace_id: error for trace_id, error in refused.items() if error is not None}

    def settle_unfinished(self, before: datetime, live: Collection[str]) -> int:
        """Say of runs that go on by their rows, not refreshed since `before` and not `live`, that they were cut short.

        Gives how many there were. Raises StoreUnavailableError.
        """
        statement = (
            sa.update(tables.traces)
            .where(tables.traces.c.status == "in_progress", tables.traces.c.updated_at < before)
            .where(tables.traces.c.trace_id.not_in(list(live)))
            .values(status="incomplete", current_stage=None, error=_CUT_SHORT)
        )
        with self._lock, wrapped(self.database):
            ensure_current(self.database)
            with engine(self.database).begin() as connection:
                return connection.execute(statement).rowcount

    def catch_up(self) -> bool:
        """Do a piece of what writing runs leaves to be done; gives whether there is more.

        Raises StoreUnavailableError.
        """
        with self._lock:
            return catch_up(self.database)

    def close(self) -> None:
        """Close the connection; the next `save` opens another."""
        with self._lock:
            self._drop_connection()

    def hold(self) -> bool:
        """Before a fork: let nobody write, and close the connection; gives whether there is something to `resume`.

        SQLite keeps the locks of a process in its memory. A child would take those for its own, and never give them up.
        """
        held = self._lock.acquire(timeout=_FORK_WAIT)
        if held:
            self._drop_connection()
        return held

    def resume(self) -> None:
        """After a fork, in both processes."""
        self._lock.release()

    def _write(self, rows: Sequence[Row]) -> RowRefusedError | None:
        """Write in one transaction; give the refusal where one of the rows is refused."""
        try:
            with wrapped(self.database):
                connection = self._connection or self._connect()
            with self._pipeline(connection):
                self._statements.execute(connection.cursor(), rows)
            connection.commit()
        except IreOtelError:
            raise
        except Exception as error:
            if is_about_content(error):
                self._roll_back()
                return refusal(error, self.database)
            self._drop_connection()
            raise unavailable(error, self.database) from error
        return None

    def _connect(self) -> sa.PoolProxiedConnection:
        ensure_current(self.database)
        self._connection = engine(self.database).raw_connection()
        return self._connection

    def _pipeline(self, connection: sa.PoolProxiedConnection) -> AbstractContextManager[object]:
        """Let Postgres answer all statements together: over a network, the waiting for each is what takes the time."""
        driver: Any = connection.driver_connection
        return nullcontext() if self.database.file is not None else driver.pipeline()

    def _roll_back(self) -> None:
        if self._connection is not None:
            self._connection.rollback()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # What is broken may refuse even to close. A server that stalls is not asked to roll back first; SQLite is,
            # because it keeps its lock while the error's traceback still holds a cursor.
            with suppress(Exception):
                connection.invalidate() if self.database.file is None else connection.close()


_on_sqlite: WeakSet[RunStore] = WeakSet()
_held: list[RunStore] = []
"""Those that a fork under way holds."""


def _before_fork() -> None:
    _held.extend(store for store in tuple(_on_sqlite) if store.hold())


def _after_fork() -> None:
    while _held:
        _held.pop().resume()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


class _Statements:
    """The SQL, compiled once; per run only values are taken from the structs."""

    def __init__(self, target: Database) -> None:
        on_sqlite = target.file is not None
        self._begin = "BEGIN IMMEDIATE" if on_sqlite else None
        self._on_sqlite = on_sqlite
        dialect: sa.Dialect = sqlite.dialect() if on_sqlite else psycopg_dialect(paramstyle="format")  # type: ignore[no-untyped-call] # SQLAlchemy annotates no dialect
        # Postgres has lists of its own.
        encoded = (JsonObject, TextList) if on_sqlite else (JsonObject,)
        as_json = {column.name for column in tables.traces.columns if any(column.type is kind for kind in encoded)}
        self._upsert = _compiled(_upsert(dialect.name), dialect, as_json)
        self._children = [
            (
                f"DELETE FROM {table.name} WHERE trace_id {_AMONG[dialect.name]}",  # noqa: S608 # names of ours
                _compiled(sa.insert(table).values(_values(rows)).inline(), dialect),
                attrgetter(field),
            )
            for table, rows, field in _CHILDREN
        ]

    def execute(self, cursor: Any, rows: Sequence[Row]) -> None:
        """Write `rows` with a driver's cursor, without ending the transaction."""
        if self._begin is not None:
            cursor.execute(self._begin)
        sql, values = self._upsert
        self._insert(cursor, sql, [values(row.run) for row in rows])
        trace_ids = [row.run.trace_id for row in rows]
        among = dumps(trace_ids) if self._on_sqlite else trace_ids
        for delete, (insert, child_values), children in self._children:
            cursor.execute(delete, (among,))
            found = [child_values(child) for row in rows for child in children(row)]
            if found:
                self._insert(cursor, insert, found)

    def _insert(self, cursor: Any, sql: str, values: Sequence[tuple[Any, ...]]) -> None:
        if not self._on_sqlite:
            cursor.executemany(sql, values)
            return
        # sqlite3 gives the interpreter away for each statement; a thread that computes keeps it for 5 ms each time.
        for begin in range(0, len(values), _AT_ONCE):
            some = values[begin : begin + _AT_ONCE]
            cursor.execute(_several(sql, len(some)), tuple(chain.from_iterable(some)))


_AMONG: Final = {"sqlite": "IN (SELECT value FROM json_each(?))", "postgresql": "= ANY(%s)"}
"""A condition with all trace_ids as its one parameter."""
_AT_ONCE: Final = 64
"""Most rows of one statement on SQLite, which takes 32,766 parameters."""


@lru_cache(maxsize=128)
def _several(sql: str, number: int) -> str:
    """Make an INSERT of one row one of several."""
    head, values, rest = sql.partition(" VALUES ")
    row, conflict, rest = rest.partition(" ON CONFLICT")
    return f"{head}{values}{', '.join([row] * number)}{conflict}{rest}"


_Statement = tuple[str, Callable[[Any], tuple[Any, ...]]]


def _upsert(dialect: str) -> Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(tables.traces)
    kept = [name for name in RunRow.__struct_fields__ if name != "trace_id"]
    project = sa.select(tables.projects.c.id).where(tables.projects.c.id == sa.bindparam("project_id"))
    replaced = {name: statement.excluded[name] for name in kept}
    values = _values(RunRow) | {"project_id": project.scalar_subquery()}
    return statement.values(values).inline().on_conflict_do_update(index_elements=["trace_id"], set_=replaced)


def _values(row: type[msgspec.Struct]) -> dict[str, Any]:
    return {name: sa.bindparam(name) for name in row.__struct_fields__}


def _compiled(statement: Any, dialect: sa.Dialect, as_json: Collection[str] = ()) -> _Statement:
    """Give the SQL, and what takes its values from a struct; those of the columns `as_json` are encoded."""
    compiled = statement.compile(dialect=dialect)
    names = list(compiled.positiontup or ())
    take: Callable[[Any], tuple[Any, ...]] = attrgetter(*names)
    encoded = [position for position, name in enumerate(names) if name in as_json]
    if not encoded:
        return str(compiled), take

    def values(source: Any) -> tuple[Any, ...]:
        taken = list(take(source))
        for position in encoded:
            taken[position] = None if taken[position] is None else dumps(taken[position])
        return tuple(taken)

    return str(compiled), values
