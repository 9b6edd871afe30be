"""Bring a database to the schema of this version, take it back, or print the SQL for it."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy import exc

from ire_otel.db import access
from ire_otel.db.daily_tables import STALE_VIEWS
from ire_otel.db.engine import BUSY_TIMEOUT, Database, engine
from ire_otel.db.failures import is_missing_table, wrapped
from ire_otel.db.tables import VIEWS, metadata
from ire_otel.errors import ConfigurationError, StoreUnavailableError

if TYPE_CHECKING:
    # Alembic loads only where there is something to migrate.
    from alembic.config import Config
    from alembic.script import Script

HEAD: Final = "0010"
"""The newest migration; a test compares it with the files."""
VERSION_TABLE: Final = "ire_otel_alembic_version"
"""A name of our own, because the host may keep its own Alembic history in the same database."""
DIALECTS: Final = ("sqlite", "postgresql")

_VERSION: Final = sa.select(sa.column("version_num", sa.String)).select_from(sa.table(VERSION_TABLE))
_DROP_VERSIONS: Final = sa.DDL(f"DROP TABLE {VERSION_TABLE}")  # type: ignore[no-untyped-call] # SQLAlchemy annotates it not
_OURS: Final = (
    *(VERSION_TABLE, "trace_search"),
    *(name for name in metadata.tables if name != "projects"),
    *(*VIEWS, *STALE_VIEWS),
)
_LOCK: Final = 0x6972655F6F74656C
"""Key of the Postgres advisory lock that only one upgrade holds; spells ire_otel."""


_ONE_AT_A_TIME: Final = threading.Lock()
"""Alembic keeps the command that runs in a global of the process, so threads take turns, whatever their databases."""


def upgrade(target: Database, revision: str = HEAD) -> None:
    """Bring the database to `revision`. Any number may try at once.

    On Postgres the newest also closes all tables again, to roles and grants that have come since.
    Raises StoreUnavailableError, also where the database was made by a later version of ire-otel.
    """
    _must_be_known(revision)
    _make_folder(target)
    with wrapped(target), _locked(target) as connection:
        found = _revision(connection)
        if found != revision:
            _must_know(target, found)
            _run("upgrade", connection, revision)
        if target.file is None and revision == HEAD:
            connection.exec_driver_sql(access.block(*_OURS))


def downgrade(target: Database, revision: str = "base") -> None:
    """Take the database back to `revision` (`base`: nothing of ours is left)."""
    _must_be_known(revision)
    _must_exist(target)
    with wrapped(target), _locked(target) as connection:
        _must_know(target, _revision(connection))
        _run("downgrade", connection, revision)
        if revision == "base":
            connection.execute(_DROP_VERSIONS)


def current(target: Database) -> str | None:
    """Give the migration that the database is at; None where it has none of our tables."""
    if target.file is not None and not target.file.exists():
        return None
    with wrapped(target), engine(target).connect() as connection:
        try:
            return connection.scalar(_VERSION)
        except (exc.ProgrammingError, exc.OperationalError) as error:
            if is_missing_table(error):
                return None
            raise


def is_known(revision: str) -> bool:
    """Tell whether this version has that migration."""
    return revision in _revisions()


def sql(dialect: str, *, start: str = "base", end: str = HEAD, transaction: bool = True) -> str:
    """Give the SQL that brings a database of `dialect` from one migration to another, down where `end` is earlier."""
    from alembic import command

    if dialect not in DIALECTS:
        raise ConfigurationError(f"dialect {dialect!r} is unknown: valid are {', '.join(DIALECTS)}")
    _must_be_known(start)
    _must_be_known(end)
    known = _revisions()
    step = command.downgrade if known.index(end) < known.index(start) else command.upgrade
    output = io.StringIO()
    config = _config(output)
    config.attributes["dialect"] = dialect
    config.attributes["transaction"] = transaction
    with _ONE_AT_A_TIME:
        step(config, f"{start}:{end}", sql=True)
    if end == "base":
        output.write(f"{_DROP_VERSIONS.statement};\n")
    return output.getvalue()


def supabase_files() -> dict[str, str]:
    """Give the migrations as the Supabase CLI wants them: file name (`<14 digits>_name.sql`) and SQL, oldest first.

    They open no transaction: the CLI applies each file in one of its own.
    """
    made, before = {}, "base"
    for script in _scripts():
        topic = Path(script.path).stem.partition("_")[2]
        name = f"{script.module.created}_ire_otel_{topic}.sql"
        made[name] = sql("postgresql", start=before, end=script.revision, transaction=False)
        before = script.revision
    return made


def ensure_current(target: Database) -> None:
    """Make sure that the tables are there: SQLite is made and migrated, Postgres only checked (one tiny query).

    Raises StoreUnavailableError.
    """
    if target.file is not None:
        if not target.file.exists() or current(target) != HEAD:
            upgrade(target)
        return
    found = current(target)
    if found != HEAD:
        _must_know(target, found)
        what = "lacks our tables" if found is None else f"is at migration {found}, this version needs {HEAD}"
        raise StoreUnavailableError(f"{target.place} {what}: run `ire-otel db upgrade`")


def migrations() -> Path:
    """Give the folder of the migrations: inside the installed package, else in the checkout beside it."""
    package = Path(str(files("ire_otel")))
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise ConfigurationError(f"the migrations are missing from {package}: install ire-otel again")


def _config(output: io.StringIO | None = None) -> "Config":
    from alembic.config import Config

    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _run(direction: str, connection: sa.Connection, revision: str) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    with _ONE_AT_A_TIME:
        (command.upgrade if direction == "upgrade" else command.downgrade)(config, revision)


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(_VERSION)


def _revisions() -> list[str]:
    """Give the migrations of this version, oldest first, after `base`."""
    return ["base", *(script.revision for script in _scripts())]


def _scripts() -> "list[Script]":
    from alembic.script import ScriptDirectory

    return [*ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def _must_be_known(revision: str) -> None:
    if revision != HEAD and revision not in _revisions():
        raise ConfigurationError(f"migration {revision!r} is unknown: valid are {', '.join(_revisions())}")


def _must_know(target: Database, found: str | None) -> None:
    if found is not None and found not in _revisions():
        raise StoreUnavailableError(
            f"{target.place} is at migration {found}, which this version (up to {HEAD}) does not know: upgrade ire-otel"
        )


@contextmanager
def _locked(target: Database) -> Iterator[sa.Connection]:
    """Open a transaction that no second upgrade enters."""
    # An index on a large table takes its time, and so may the other upgrade that holds the lock.
    made = engine(target, patient=True)
    if target.file is None:
        with made.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield connection
        return
    _write_ahead(made)
    with made.connect() as connection:
        connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        with connection.begin():
            yield connection


def _write_ahead(made: sa.Engine) -> None:
    """Switch the SQLite file to WAL, which it then stays in."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        connection = made.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
            return
        except made.dialect.loaded_dbapi.OperationalError as error:
            # SQLite does not wait for this lock by itself. Nothing else, such as a full disk, gets better by waiting.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        finally:
            connection.close()


def _make_folder(target: Database) -> None:
    if target.file is not None:
        with wrapped(target):
            target.file.parent.mkdir(parents=True, exist_ok=True)


def _must_exist(target: Database) -> None:
    if target.file is not None and not target.file.exists():
        raise StoreUnavailableError(f"no database at {target.file}: check database_url")
