"""Migrations: they make the tables that the code declares, on both databases, and leave a host's own things alone."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from ire_otel.db import migrate, tables
from ire_otel.db.engine import Database, database, engine
from ire_otel.db.failures import unavailable
from ire_otel.db.store import RunStore
from ire_otel.errors import ConfigurationError, StoreUnavailableError
from ire_otel.row import row
from tests.sample_document import LOCATION, sample_document

# The catalogue of each database: first the table's name, then whatever describes it.
POSTGRES_CATALOGUE = (
    (
        "SELECT table_name, ordinal_position, column_name, data_type, udt_name, character_maximum_length, is_nullable, "
        "column_default FROM information_schema.columns WHERE table_schema = 'public'"
    ),
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace"
    ),
)
SQLITE_CATALOGUE = (
    "SELECT tables.name, columns.* FROM sqlite_master AS tables, pragma_table_xinfo(tables.name) AS columns",
    "SELECT tables.name, keys.* FROM sqlite_master AS tables, pragma_foreign_key_list(tables.name) AS keys",
    "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'index'",
    "SELECT name, wr FROM pragma_table_list",
)
PROJECT = "0b4cdf52-6ac0-4f7c-8a86-0d5bb3b2a1a1"
# What a host may have before us: a projects table with columns of its own, a trigger function, an Alembic history.
HOST = """
CREATE TABLE projects (id UUID PRIMARY KEY, title TEXT NOT NULL, owner TEXT NOT NULL);
INSERT INTO projects VALUES ('0b4cdf52-6ac0-4f7c-8a86-0d5bb3b2a1a1', 'Cobots', 'somebody');
CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.updated_at = now() + interval '1 day'; RETURN NEW; END $$;
CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('host42');
"""
# What a host may build on what we made.
OTHERS = """
CREATE TABLE invoices (id INTEGER, project_id UUID REFERENCES projects (id), updated_at TIMESTAMPTZ);
CREATE TRIGGER invoices_updated BEFORE UPDATE ON invoices FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
"""


def test_the_newest_migration_is_the_one_the_code_names() -> None:
    """`HEAD` is written down so that a check needs no Alembic; it must be the last file."""
    assert ScriptDirectory(migrate.migrations()).get_current_head() == migrate.HEAD


def test_migrations_make_the_declared_tables(empty_database_url: str) -> None:
    """Columns, types, defaults, keys and indexes are those of the Table definitions."""
    target = database(empty_database_url)
    with engine(target).begin() as connection:
        tables.metadata.create_all(connection)
        declared = _schema(connection)
        tables.metadata.drop_all(connection)
    migrate.upgrade(target)
    with engine(target).connect() as connection:
        assert _schema(connection) == declared


def test_upgrade_downgrade_upgrade(empty_database_url: str) -> None:
    """A downgrade leaves nothing of ours, and the way up again ends where it ended before."""
    target = database(empty_database_url)
    before = _names(target)
    migrate.upgrade(target)
    migrated = _names(target)
    assert {"traces", "trace_quality_gaps", "projects"} <= migrated
    assert migrate.current(target) == migrate.HEAD
    migrate.downgrade(target)
    assert _names(target) == before
    assert migrate.current(target) is None
    migrate.upgrade(target)
    assert _names(target) == migrated


def test_an_upgrade_that_is_not_needed_changes_nothing(empty_database_url: str) -> None:
    """Upgrading twice is upgrading once."""
    target = database(empty_database_url)
    migrate.upgrade(target)
    once = _names(target)
    migrate.upgrade(target)
    assert _names(target) == once


def test_many_processes_may_upgrade_at_once(empty_database_url: str) -> None:
    """One of them migrates, the others wait and find it done."""
    program = "import sys; from ire_otel.db import engine, migrate; migrate.upgrade(engine.database(sys.argv[1]))"
    processes = [subprocess.Popen([sys.executable, "-c", program, empty_database_url]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert migrate.current(database(empty_database_url)) == migrate.HEAD


def test_the_printed_sql_makes_and_removes_the_same(empty_database_url: str) -> None:
    """`db sql` is the migration: applied by hand it makes the same things, and its way back removes them."""
    target = database(empty_database_url)
    dialect = target.url.drivername
    _execute_script(target, migrate.sql(dialect))
    assert migrate.current(target) == migrate.HEAD
    with engine(target).connect() as connection:
        by_hand = _schema(connection)
    _execute_script(target, migrate.sql(dialect, start=migrate.HEAD, end="base"))
    assert _names(target) <= {"projects"}
    migrate.upgrade(target)
    with engine(target).connect() as connection:
        assert _schema(connection) == by_hand


def test_a_host_keeps_what_it_had(empty_postgres_url: str) -> None:
    """Its projects, its trigger function and its Alembic history survive our upgrade and our downgrade."""
    target = database(empty_postgres_url)
    _execute_script(target, HOST)
    before, names = _host_state(target), _names(target)
    migrate.upgrade(target)
    assert _host_state(target) == before
    migrate.downgrade(target)
    assert (_host_state(target), _names(target)) == (before, names)


def test_what_others_have_built_on_stays(empty_postgres_url: str) -> None:
    """A downgrade leaves a projects table and a trigger function that we made but others refer to."""
    target = database(empty_postgres_url)
    migrate.upgrade(target)
    _execute_script(target, OTHERS)
    migrate.downgrade(target)
    assert _names(target) == {"projects", "invoices"}
    _execute_script(target, "INSERT INTO invoices (id) VALUES (1); UPDATE invoices SET id = 2")
    migrate.upgrade(target)
    assert migrate.current(target) == migrate.HEAD


def test_a_run_of_a_host_s_project_is_linked(empty_postgres_url: str) -> None:
    """Its projects need no column of ours but the id; a project that goes away takes no run with it."""
    target = database(empty_postgres_url)
    _execute_script(target, HOST)
    migrate.upgrade(target)
    with closing(RunStore(empty_postgres_url)) as store:
        assert store.save([row(sample_document(project_id=PROJECT), LOCATION)]) == {}
    linked = sa.select(tables.traces.c.project_id, tables.traces.c.project_name)
    with engine(target).begin() as connection:
        assert connection.execute(linked).all() == [(PROJECT, "cobot")]
        connection.execute(sa.text("DELETE FROM projects"))
        assert connection.execute(linked).all() == [(None, "cobot")]


def test_projects_with_rows_stay(empty_database_url: str) -> None:
    """A downgrade does not remove our projects table once somebody has written to it."""
    target = database(empty_database_url)
    migrate.upgrade(target)
    with engine(target).begin() as connection:
        connection.execute(sa.insert(tables.projects).values(id=PROJECT, name="cobot"))
    migrate.downgrade(target)
    with engine(target).connect() as connection:
        assert connection.scalars(sa.select(tables.projects.c.name)).all() == ["cobot"]
    migrate.upgrade(target)
    assert migrate.current(target) == migrate.HEAD


def test_a_database_of_a_later_version_is_left_alone(database_url: str) -> None:
    """Its migration is unknown here, and the error says what to do."""
    target = database(database_url)
    with engine(target).begin() as connection:
        connection.execute(sa.text("UPDATE ire_otel_alembic_version SET version_num = '9999'"))
    for action in (migrate.upgrade, migrate.downgrade, migrate.ensure_current):
        with pytest.raises(StoreUnavailableError, match=r"9999.*upgrade ire-otel"):
            action(target)


def test_postgres_is_not_migrated_by_itself(empty_postgres_url: str) -> None:
    """Where our tables are missing, the error names the command."""
    with pytest.raises(StoreUnavailableError, match="ire-otel db upgrade"):
        migrate.ensure_current(database(empty_postgres_url))


def test_an_unknown_dialect_is_named() -> None:
    """`db sql` serves two dialects, and says so."""
    with pytest.raises(ConfigurationError, match=r"'mysql'.*sqlite, postgresql"):
        migrate.sql("mysql")


@pytest.mark.parametrize("revision", ["77", "head", ""])
def test_an_unknown_migration_is_named(sqlite_url: str, revision: str) -> None:
    """With those that there are; the database stays as it is."""
    target = database(sqlite_url)
    for action in (migrate.upgrade, migrate.downgrade):
        with pytest.raises(ConfigurationError, match=rf"is unknown: valid are base, 0001.*{migrate.HEAD}"):
            action(target, revision)
    with pytest.raises(ConfigurationError, match=rf"is unknown: valid are base, 0001.*{migrate.HEAD}"):
        migrate.sql("sqlite", end=revision)
    assert migrate.current(target) == migrate.HEAD


def test_somebody_else_s_traces_table_is_not_touched(empty_database_url: str) -> None:
    """A table of that name that no migration of ours made is an error, and nothing is left half done."""
    target = database(empty_database_url)
    with engine(target).begin() as connection:
        connection.execute(sa.text("CREATE TABLE traces (mine TEXT)"))
    with pytest.raises(StoreUnavailableError, match=r"not ours .*traces.*: name another database"):
        migrate.upgrade(target)
    assert _names(target) == {"traces"}


def test_updated_at_follows_every_change(database_url: str) -> None:
    """The trigger sets it; `created_at` stays."""
    target = database(database_url)
    row = {"trace_id": "trc_1", "started_at": datetime(2026, 2, 13, tzinfo=UTC)}
    columns = tables.traces.c.created_at, tables.traces.c.updated_at
    with engine(target).begin() as connection:
        connection.execute(sa.insert(tables.traces).values(row))
        created, updated = connection.execute(sa.select(*columns)).one()
    time.sleep(0.01)
    with engine(target).begin() as connection:
        connection.execute(sa.update(tables.traces).values(review_notes="looked at"))
    with engine(target).connect() as connection:
        created_again, updated_again = connection.execute(sa.select(*columns)).one()
    assert created_again == created
    assert updated_again > updated


def test_ids_are_uuids(database_url: str) -> None:
    """The database makes them, in the one spelling that both share."""
    target = database(database_url)
    with engine(target).begin() as connection:
        for number in range(50):
            row = {"trace_id": f"trc_{number}", "started_at": datetime(2026, 2, 13, tzinfo=UTC)}
            connection.execute(sa.insert(tables.traces).values(row))
        ids = connection.scalars(sa.select(tables.traces.c.id)).all()
    assert len(set(ids)) == 50
    assert all(str(UUID(made)) == made and UUID(made).version == 4 for made in ids)


def test_the_command_line_migrates_and_says_what_it_did(sqlite_url: str) -> None:
    """`ire-otel db`: one line for each command; errors are one line on stderr, with exit code 2 for bad usage."""
    assert _db("downgrade", "base", "--yes", url=sqlite_url) == (0, "is at migration none now\n", "")
    head = migrate.HEAD
    assert _db("current", url=sqlite_url) == (0, f"none (the newest is {head}: run `ire-otel db upgrade`)\n", "")
    assert _db("upgrade", url=sqlite_url) == (0, f"is at migration {head} now (before: none)\n", "")
    assert _db("upgrade", url=sqlite_url) == (0, f"is at migration {head} already\n", "")
    assert _db("downgrade", "0001", "--yes", url=sqlite_url) == (0, "is at migration 0001 now\n", "")
    assert _db("upgrade", url=sqlite_url) == (0, f"is at migration {head} now (before: 0001)\n", "")
    code, output, errors = _db("downgrade", "77", "--yes", url=sqlite_url)
    assert (code, output) == (2, "")
    assert errors.startswith("ire-otel: migration '77' is unknown: valid are base, 0001")
    assert errors.count("\n") == 1
    code, output, _ = _db("sql", "--dialect", "sqlite")
    assert (code, output) == (0, migrate.sql("sqlite"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://with_password:wrong@{server}", "password authentication failed.*check user and password"),
        ("postgresql://with_password:right@{server}", "permission denied.*grant its role the right"),
        ("postgresql://nobody@{server}", 'role "nobody" does not exist.*check user and password'),
        ("postgresql://u:secret@no-such-host.invalid:5432/d", "no-such-host.invalid.*check that it runs"),
        ("postgresql://u:secret@127.0.0.1:1/d", "Connection refused.*check that it runs"),
        ("postgresql://postgres:secret@{host}/no_such_database", '"no_such_database" does not exist'),
        ("postgresql://postgres:secret@{server}?sslmode=require", "SSL.*check sslmode"),
        ("postgresql://postgres:secret@{server}?connect_timeout=soon", "connect_timeout.*'soon': give whole seconds"),
    ],
)
def test_the_command_line_says_what_is_wrong_with_a_connection(postgres_url: str, url: str, message: str) -> None:
    """One line with the place, the reason and the remedy; never the password."""
    server = postgres_url.partition("@")[2]
    given = url.format(server=server, host=server.partition("/")[0])
    code, output, errors = _ire_otel("runs", url=given)
    assert (code, output) == (2 if "soon" in url else 1, "")
    assert re.fullmatch(f"ire-otel: .*{message}.*\n", errors), errors
    assert not re.search(r"secret|:wrong|:right", errors)


def test_the_command_line_says_what_is_wrong_with_the_tables(postgres_url: str) -> None:
    """They are of a later version, of an earlier one, or not there."""
    target = database(postgres_url)
    for version, message in (("9999", "this version .* does not know: upgrade ire-otel"), ("0001", "needs")):
        _execute_script(target, f"UPDATE {migrate.VERSION_TABLE} SET version_num = '{version}'")  # noqa: S608 # ours
        code, _, errors = _ire_otel("runs", url=postgres_url)
        assert code == 1
        assert re.fullmatch(f"ire-otel: Postgres at .* is at migration {version}, .*{message}.*\n", errors), errors
    _execute_script(target, f"UPDATE {migrate.VERSION_TABLE} SET version_num = '{migrate.HEAD}'")  # noqa: S608 # ours
    migrate.downgrade(target)
    code, _, errors = _ire_otel("runs", url=postgres_url)
    assert (code, errors) == (1, f"ire-otel: {target.place} lacks our tables: run `ire-otel db upgrade`\n")


def test_a_supabase_server_that_cannot_be_reached_is_explained() -> None:
    """Its own address is IPv6 only, which few would guess from `Network is unreachable`."""
    for host, remedy in (
        ("db.abc.supabase.co", "use the address of its pooler"),
        ("db.example.org", "check that it runs"),
    ):
        target = database(f"postgresql://u:secret@{host}/postgres")
        assert remedy in str(unavailable(OSError("Network is unreachable"), target))


def _ire_otel(*arguments: str, url: str) -> tuple[int, str, str]:
    program = Path(sys.executable).with_name("ire-otel")
    environment = {**os.environ, "IRE_OTEL_DATABASE_URL": url, "IRE_OTEL_RAISE": ""}
    ended = subprocess.run([program, *arguments], check=False, capture_output=True, text=True, env=environment)
    return ended.returncode, ended.stdout, ended.stderr


def _db(*arguments: str, url: str | None = None) -> tuple[int, str, str]:
    """Run `ire-otel db`; the place of the database is left out of what it says."""
    program = Path(sys.executable).with_name("ire-otel")
    given = [] if url is None else ["--database-url", url]
    ended = subprocess.run([program, "db", *arguments, *given], check=False, capture_output=True, text=True)
    output = ended.stdout if url is None else ended.stdout.replace(f"{database(url).place} ", "")
    return ended.returncode, output, ended.stderr


def _schema(connection: sa.Connection) -> list[list[tuple[Any, ...]]]:
    """Give columns, indexes and constraints of the declared tables, as the database itself describes them."""
    catalogue = SQLITE_CATALOGUE if connection.dialect.name == "sqlite" else POSTGRES_CATALOGUE
    ours = {name for name in tables.metadata.tables if name != "projects"}
    found = [connection.execute(sa.text(query.replace(":", r"\:"))).all() for query in catalogue]
    return [sorted((tuple(row) for row in rows if row[0] in ours), key=str) for rows in found]


def _names(target: Database) -> set[str]:
    with engine(target).connect() as connection:
        inspector = sa.inspect(connection)
        return {*inspector.get_table_names(), *inspector.get_view_names()}


def _host_state(target: Database) -> list[Any]:
    questions = (
        "SELECT * FROM projects",
        "SELECT version_num FROM alembic_version",
        "SELECT prosrc, obj_description(oid, 'pg_proc') FROM pg_proc WHERE proname = 'update_updated_at_column'",
    )
    with engine(target).connect() as connection:
        return [connection.execute(sa.text(question)).all() for question in questions]


def _execute_script(target: Database, script: str) -> None:
    if target.file is not None:
        with closing(sqlite3.connect(target.file)) as connection:
            connection.executescript(script)
    else:
        with psycopg.connect(target.dsn, autocommit=True) as connection_to_postgres:
            connection_to_postgres.execute(script.encode())
