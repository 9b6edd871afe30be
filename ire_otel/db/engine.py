"""Connections: which driver serves a database URL, and with which options."""

from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ire_otel.errors import ConfigurationError

POOLER_PORT: Final = 6543
"""Supabase's transaction pooler."""
COMMAND_TIMEOUT: Final = 30.0
"""Seconds that one command on Postgres may take, so that a stalled server holds nobody for ever."""
BUSY_TIMEOUT: Final = 10
"""Seconds that a write to SQLite waits for another process's write."""
CHECKPOINT_PAGES: Final = 4_000
"""Pages that SQLite's log collects before they go into the file (16 MB), because runs rewrite the same ones."""
CONNECT_TIMEOUT: Final = 10
"""Seconds to wait for Postgres to answer, unless the URL has `connect_timeout`."""

_LIBPQ_ONLY: Final = (
    *("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    *("tcp_user_timeout", "channel_binding", "gssencmode", "sslsni", "sslnegotiation", "fallback_application_name"),
)
"""What a URL may tell psycopg; asyncpg would ask the server for a setting of that name."""
_FORMS: Final = "write sqlite:////absolute/path/traces.db or postgresql://user:password@host:5432/name"


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """A database as its URL names it."""

    url: sa.URL
    """Without a driver: `sqlite:///…` or `postgresql://…`."""
    transaction_pooler: bool = False
    """True: a server connection serves one transaction only, so nothing can stay prepared."""

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for Postgres."""
        return Path(self.url.database or "") if self.url.drivername == "sqlite" else None

    @property
    def place(self) -> str:
        """Where it is, for messages: the file, or host, port and name; never the password."""
        if self.file is not None:
            return str(self.file)
        host = self.url.host or self.url.query.get("host") or "localhost"
        return f"Postgres at {host}:{self.url.port or self.url.query.get('port') or 5432}, database {self.url.database}"

    @property
    def dsn(self) -> str:
        """The URL as libpq and asyncpg read it; holds the password."""
        return self.url.render_as_string(hide_password=False)


def database(url: str, pooler: str = "") -> Database:
    """Read a database URL: `sqlite:///<path>` or `postgresql://…` (also `postgres://`, and with a driver named).

    `pooler="transaction"`, or port 6543, means a transaction pooler. Raises ConfigurationError.
    """
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        # Without its cause, which may hold the password.
        raise ConfigurationError(f"database_url is no URL: {_FORMS}") from None
    backend = parsed.drivername.partition("+")[0]
    backend = "postgresql" if backend == "postgres" else backend
    if backend not in {"sqlite", "postgresql"}:
        raise ConfigurationError(f"database_url names the database {backend!r}: {_FORMS}")
    if backend == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigurationError(f"database_url names no file: {_FORMS}")
    limit = parsed.query.get("connect_timeout", "0")
    if not str(limit).isdecimal():
        raise ConfigurationError(f"connect_timeout in database_url cannot be {limit!r}: give whole seconds")
    pooled = backend == "postgresql" and (pooler == "transaction" or parsed.port == POOLER_PORT)
    return Database(url=parsed.set(drivername=backend), transaction_pooler=pooled)


def engine(target: Database, *, patient: bool = False) -> sa.Engine:
    """Make an engine for writing and for synchronous reading (sqlite3, psycopg). It pools nothing.

    A command that Postgres does not answer within half a minute fails, unless `patient`.
    """
    if target.file is None:
        connect = partial(_psycopg, target, patient=patient)
        return sa.create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    made = sa.create_engine(target.url, connect_args=_SQLITE_ARGUMENTS, poolclass=NullPool)
    _set_up(made)
    return made


def async_engine(target: Database) -> AsyncEngine:
    """Make an engine for asynchronous reading (aiosqlite, asyncpg): one per event loop, to be disposed with it."""
    if target.file is None:
        arguments: dict[str, Any] = {"async_creator_fn": lambda *_, **__: _asyncpg(target)}
        if target.transaction_pooler:
            # A named statement would stay on a server connection that serves somebody else next.
            arguments |= {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
        # A pooled connection may have been closed from the other side, by a pooler or a restart.
        return create_async_engine("postgresql+asyncpg://", connect_args=arguments, pool_pre_ping=True)
    url = target.url.set(drivername="sqlite+aiosqlite")
    # Not pooled: a connection that nobody closes is a thread that keeps the process from ending.
    made = create_async_engine(url, connect_args=_SQLITE_ARGUMENTS, poolclass=NullPool)
    _set_up(made.sync_engine)
    return made


def _psycopg(target: Database, *, patient: bool) -> Any:
    try:
        import psycopg

        from ire_otel.db.bounded import BoundedConnection
    except ImportError as error:
        raise ConfigurationError(_DRIVER_MISSING.format(place=target.place, driver="psycopg")) from error
    options: dict[str, Any] = {"prepare_threshold": None} if target.transaction_pooler else {}
    if "connect_timeout" not in target.url.query:
        options["connect_timeout"] = CONNECT_TIMEOUT
    kind = psycopg.Connection if patient else BoundedConnection
    return kind.connect(target.dsn, **options)


def _asyncpg(target: Database) -> Awaitable[Any]:
    try:
        import asyncpg
    except ImportError as error:
        raise ConfigurationError(_DRIVER_MISSING.format(place=target.place, driver="asyncpg")) from error
    options: dict[str, Any] = {"statement_cache_size": 0} if target.transaction_pooler else {}
    # As libpq has it: 0 waits for ever.
    options["timeout"] = int(str(target.url.query.get("connect_timeout", CONNECT_TIMEOUT))) or None
    dsn = target.url.difference_update_query(_LIBPQ_ONLY).render_as_string(hide_password=False)
    connection: Awaitable[Any] = asyncpg.connect(dsn, command_timeout=COMMAND_TIMEOUT, **options)
    return connection


_DRIVER_MISSING: Final = "{place} needs the driver {driver}: install ire-otel[postgres]"


# Explicit transactions only: sqlite3's own begin too late, and end at every schema change.
_SQLITE_ARGUMENTS: Final = {"timeout": BUSY_TIMEOUT, "isolation_level": None, "check_same_thread": False}


def _set_up(made: sa.Engine) -> None:
    event.listen(made, "connect", _set_up_sqlite)
    event.listen(made, "begin", _begin_sqlite)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    # In WAL mode a power cut can lose the last rows but not harm the file; lost rows come back from the trace files.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))
