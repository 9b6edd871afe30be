"""Supabase: what its public roles can reach (nothing), and the SQL files that its command line applies."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import errors, sql

from ire_otel.db import migrate
from ire_otel.db.daily_tables import STALE_VIEWS
from ire_otel.db.engine import database
from ire_otel.db.store import RunStore
from ire_otel.db.tables import VIEWS as FOR_PEOPLE
from ire_otel.db.tables import metadata
from ire_otel.query import list_runs
from ire_otel.row import row
from tests.sample_document import LOCATION, sample_document

VIEWS = (*FOR_PEOPLE, *STALE_VIEWS)
TABLES = (*metadata.tables, migrate.VERSION_TABLE, "trace_search")
PROJECT = "0b4cdf52-6ac0-4f7c-8a86-0d5bb3b2a1a1"
SUPABASE = shutil.which("supabase")
NO_SUPABASE = "the Supabase CLI is not there: npm install supabase, and put node_modules/.bin into PATH"
# What is to be the same, whoever applied the migrations.
CATALOGUE = (
    (
        "SELECT relname, relkind, relrowsecurity, reloptions::text, relacl::text FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace"
    ),
    (
        "SELECT table_name, ordinal_position, column_name, udt_name, character_maximum_length, is_nullable,"
        " column_default FROM information_schema.columns WHERE table_schema = 'public'"
    ),
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    (
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace"
    ),
    "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
    "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT pg_get_functiondef(oid), obj_description(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    f"SELECT version_num FROM {migrate.VERSION_TABLE}",  # noqa: S608 # a constant
)


@pytest.fixture
def connection(supabase_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a migrated Supabase database with a run, a project, a flag and a calibration in it."""
    migrate.upgrade(database(supabase_url))
    with closing(RunStore(supabase_url)) as store:
        assert store.save([row(sample_document(), LOCATION)]) == {}
    with psycopg.connect(supabase_url, autocommit=True) as made:
        made.execute("INSERT INTO projects (id, name) VALUES (%s, 'cobot')", [PROJECT])
        made.execute(
            "INSERT INTO trace_flags (policy, message, first_raised_at, last_raised_at)"
            " VALUES ('count', '', now(), now())"
        )
        made.execute("INSERT INTO trace_calibrations (id, trace_id) VALUES ('a', 'trc_1')")
        yield made


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_public_roles_reach_nothing(connection: psycopg.Connection[Any], role: str) -> None:
    """They can neither read, write nor truncate any table or view, although Supabase granted them all of it."""
    _become(connection, role)
    statements = ("SELECT FROM {}", "INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {} CASCADE")
    allowed = [
        (statement, name) for name in (*TABLES, *VIEWS) for statement in statements if _may(connection, statement, name)
    ]
    assert allowed == []
    assert not _may(connection, "UPDATE {} SET review_notes = 'mine'", "traces")
    assert not _may(connection, "UPDATE {} SET project_name = 'mine'", "trace_quality_gaps")


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_row_level_security_holds_where_grants_come_back(connection: psycopg.Connection[Any], role: str) -> None:
    """Somebody grants everything again: no row is seen or changed, in tables and through views."""
    connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO anon, authenticated")
    _become(connection, role)
    assert [name for name in (*TABLES, *VIEWS) if _count(connection, name) > 0] == []
    assert connection.execute("UPDATE traces SET review_notes = 'mine'").rowcount == 0
    assert connection.execute("UPDATE trace_gate_failures SET project_name = 'mine'").rowcount == 0
    assert connection.execute("DELETE FROM traces").rowcount == 0
    assert not _may(connection, "INSERT INTO {} (id, trace_id) VALUES ('b', 'trc_1')", "trace_calibrations")


def test_an_upgrade_closes_what_was_opened_since(connection: psycopg.Connection[Any], supabase_url: str) -> None:
    """TRUNCATE does not ask row level security; `ire-otel db upgrade` takes the right to it away again."""
    connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO anon, authenticated")
    migrate.upgrade(database(supabase_url))
    for role in ("anon", "authenticated"):
        _become(connection, role)
        # A projects table may be the host's, who may want it open.
        ours = set(TABLES) - {"projects"}
        assert [name for name in ours if _may(connection, "TRUNCATE {} CASCADE", name)] == []
    connection.execute("RESET ROLE")
    assert _count(connection, "traces") == 1


def test_service_role_reads_and_writes(connection: psycopg.Connection[Any], supabase_url: str) -> None:
    """Supabase's role for servers is granted what it needs; newer projects grant it nothing by themselves."""
    connection.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM service_role")
    migrate.upgrade(database(supabase_url))
    _become(connection, "service_role")
    assert [name for name in ("traces", "trace_intent_summary") if _count(connection, name) != 1] == []
    connection.execute("INSERT INTO traces (trace_id, started_at) VALUES ('trc_2', now())")
    connection.execute("UPDATE traces SET review_notes = 'looked at' WHERE trace_id = 'trc_2'")
    assert connection.execute("DELETE FROM traces WHERE trace_id = 'trc_2'").rowcount == 1


def test_a_plain_postgres_is_as_closed(postgres_url: str) -> None:
    """Without those roles the same migrations run; row level security is on, views have the rights of the asker."""
    with psycopg.connect(postgres_url) as connection:
        of_kind = "SELECT {} FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = {}"
        tables = connection.execute(sql.SQL(of_kind).format(sql.SQL("relname, relrowsecurity"), "r")).fetchall()
        views = connection.execute(sql.SQL(of_kind).format(sql.SQL("relname, reloptions"), "v")).fetchall()
    secured: dict[str, bool] = dict(tables)
    options: dict[str, list[str]] = dict(views)
    # So a table of a later migration must be closed, and named above and in what an upgrade closes again.
    assert {name for name, on in secured.items() if on} == set(secured) == set(TABLES)
    assert {*migrate._OURS, "projects"} == {*TABLES, *VIEWS}
    assert [name for name in VIEWS if options[name] != ["security_invoker=on"]] == []
    assert set(options) == set(VIEWS)


def test_a_role_of_one_s_own_needs_a_grant_and_a_policy(postgres_url: str) -> None:
    """What docs/supabase.md tells those who do not connect as the owner, works as it says."""
    page = (Path(__file__).parent.parent / "docs/supabase.md").read_text(encoding="utf-8")
    (recipe,) = (found for found in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "CREATE POLICY" in found)
    role = f"reader_{database(postgres_url).url.database}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        try:
            connection.execute(recipe.replace("dashboard", role).encode())
            with closing(RunStore(postgres_url)) as store:
                store.save([row(sample_document(), LOCATION)])
            theirs = postgres_url.replace("//postgres:", f"//{role}:")
            assert [run.intent for run in list_runs(theirs)] == ["validating"]
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_the_files_are_the_migrations(supabase_url: str, empty_postgres_url: str, tmp_path: Path) -> None:
    """One file a migration, in their order; each in a transaction of its own, they make what `db upgrade` makes."""
    files = _files(tmp_path)
    assert [name for name in files if not re.fullmatch(r"\d{14}_ire_otel_\w+\.sql", name)] == []
    assert [re.sub(r"^\d{14}_ire_otel_", "", name) for name in files] == [
        path.name.partition("_")[2].replace(".py", ".sql")
        for path in sorted((migrate.migrations() / "versions").glob("*.py"))
    ]
    assert len({name[:14] for name in files}) == len(files)
    assert _files(tmp_path) == files
    for url in (supabase_url, empty_postgres_url):
        with psycopg.connect(url) as connection:
            for content in files.values():
                assert not re.search(r"^(BEGIN|COMMIT);", content, re.MULTILINE)
                connection.execute(content.encode())
                connection.commit()
        by_file = _catalogue(url)
        assert migrate.current(database(url)) == migrate.HEAD
        migrate.downgrade(database(url))
        migrate.upgrade(database(url))
        assert _catalogue(url) == by_file


def test_supabase_files_come_all_or_not_at_all(tmp_path: Path) -> None:
    """The options that choose a part are refused beside --supabase, and a folder that cannot be is named."""
    code, _, complaint = _db("sql", "--supabase", str(tmp_path / "a"), "--dialect", "sqlite")
    assert (code, complaint) == (
        2,
        "ire-otel: --supabase writes every migration, for postgresql: leave out --dialect, --from, --to\n",
    )
    (tmp_path / "file").touch()
    code, _, complaint = _db("sql", "--supabase", str(tmp_path / "file"))
    assert code == 2
    assert complaint == f"ire-otel: cannot write to {tmp_path / 'file'}: File exists; name a folder for --supabase\n"


@pytest.mark.skipif(SUPABASE is None, reason=NO_SUPABASE)
@pytest.mark.parametrize("host", ["", "CREATE TABLE projects (id UUID PRIMARY KEY, title TEXT NOT NULL)"])
def test_the_supabase_cli_takes_the_files_and_finds_no_fault(supabase_url: str, tmp_path: Path, host: str) -> None:
    """`supabase migration up` applies them, and its security advisors warn of nothing that is ours."""
    with psycopg.connect(supabase_url, autocommit=True) as connection:
        connection.execute(host.encode())
    _files(tmp_path / "supabase" / "migrations")
    _supabase(tmp_path, "migration", "up", "--yes", f"--remote={supabase_url}")
    assert migrate.current(database(supabase_url)) == migrate.HEAD
    warned = _supabase(tmp_path, "db", "advisors", f"--remote={supabase_url}", "--type", "security", "--level", "warn")
    # The host's own table is not ours to close, and shows that the advisors look.
    assert {name for name in (*TABLES, *VIEWS, "update_updated_at_column") if name in warned} == (
        {"projects"} if host else set()
    )
    with closing(RunStore(supabase_url)) as store:
        assert store.save([row(sample_document(), LOCATION)]) == {}


def _become(connection: psycopg.Connection[Any], role: str) -> None:
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))


def _may(connection: psycopg.Connection[Any], statement: LiteralString, name: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
    except errors.InsufficientPrivilege:
        return False
    except (errors.WrongObjectType, errors.FeatureNotSupported, errors.ObjectNotInPrerequisiteState):
        # Nobody can do that to a view.
        return False
    return True


def _count(connection: psycopg.Connection[Any], name: str) -> int:
    found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
    assert found is not None
    return int(found[0])


def _catalogue(url: str) -> list[list[str]]:
    with psycopg.connect(url) as connection:
        return [sorted(map(str, connection.execute(question.encode()).fetchall())) for question in CATALOGUE]


def _files(folder: Path) -> dict[str, str]:
    """Let `ire-otel db sql --supabase` write its files, and read them."""
    code, written, complaint = _db("sql", "--supabase", str(folder))
    assert (code, complaint) == (0, "")
    paths = [Path(line) for line in written.splitlines()]
    assert sorted(folder.iterdir()) == paths
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def _db(*arguments: str) -> tuple[int, str, str]:
    program = Path(sys.executable).with_name("ire-otel")
    ended = subprocess.run([program, "db", *arguments], check=False, capture_output=True, text=True)
    return ended.returncode, ended.stdout, ended.stderr


def _supabase(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "DO_NOT_TRACK": "1", "HOME": str(folder)}
    ended = subprocess.run(
        [str(SUPABASE), *arguments], cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr
