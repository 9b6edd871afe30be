"""What may stand between us and Postgres: a real pgbouncer in transaction mode, and a line that stalls."""

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

import ire_otel
from ire_otel.db import migrate
from ire_otel.db.bounded import BoundedConnection
from ire_otel.db.engine import async_engine, database, engine
from ire_otel.db.store import RunStore
from ire_otel.db.tables import traces
from ire_otel.errors import StoreUnavailableError
from ire_otel.query import TraceQuery, list_runs
from ire_otel.row import row
from tests.databases import free_port, unprivileged
from tests.sample_document import LOCATION, sample_document

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
AT_ONCE = 16
SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


@pytest.fixture
def pooled_url(postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """URL of a migrated database behind a pgbouncer of this test's own, which has three connections to it."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not there: apt-get install pgbouncer")
    direct, port = database(postgres_url).url, free_port()
    # As nobody it must reach its file, and the folders above this test's are closed.
    folder = Path("/tmp") / f"ire-otel-{tmp_path.parent.name}-{port}"  # noqa: S108 # removed below
    (folder / "run").mkdir(parents=True)
    ini = folder / "run" / "pgbouncer.ini"
    ini.write_text(SETTINGS.format(server=direct.port, port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*unprivileged(folder / "run"), PGBOUNCER, ini], stdout=log, stderr=log)
    try:
        _wait_for(port, process, folder / "log")
        yield direct.set(port=port).render_as_string(hide_password=False)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def test_sixteen_writers_and_readers_share_three_connections(pooled_url: str) -> None:
    """Rows are saved and asked for by many threads at once; none loses a row or meets another's prepared statement."""

    def work(worker: int) -> int:
        with closing(RunStore(pooled_url, "transaction")) as store:
            for number in range(worker * 10, worker * 10 + 10):
                assert store.save([row(sample_document(number, intent=f"i{worker}"), LOCATION)]) == {}
                assert list_runs(pooled_url, pooler="transaction", intent=f"i{worker}", limit=1)
        return len(list_runs(pooled_url, pooler="transaction", intent=f"i{worker}"))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert list(threads.map(work, range(AT_ONCE))) == [10] * AT_ONCE


async def test_sixteen_queries_run_on_one_event_loop(pooled_url: str) -> None:
    """Asyncpg asks the same statements again and again over connections that are not its own."""
    with closing(RunStore(pooled_url, "transaction")) as store:
        store.save([row(sample_document(number), LOCATION) for number in range(20)])
    made = async_engine(database(pooled_url, "transaction"))

    async def ask(number: int) -> list[str]:
        question = sa.select(traces.c.trace_id).where(traces.c.intent == "validating").limit(number + 1)
        async with made.connect() as connection:
            return [*(await connection.execute(question)).scalars(), *(await connection.execute(question)).scalars()]

    answers = await asyncio.gather(*(ask(number % 7) for number in range(AT_ONCE * 4)))
    await made.dispose()
    assert [len(found) for found in answers] == [2 * (number % 7 + 1) for number in range(AT_ONCE * 4)]


async def test_sixteen_runs_are_traced_and_asked_for_at_once(pooled_url: str) -> None:
    """The exporter writes and every query reads through the pooler, side by side."""
    ire_otel.configure(database_url=pooled_url, pooler="transaction")

    async def trace(number: int) -> None:
        async with ire_otel.TraceContext.start(query=f"question {number}", project_name="cobot") as run:
            run.intent = "validating"
            run.start_stage("quality_gate")
            run.record("quality_gate", "assessed", {"what": "FAIL", "why": "too generic", "confidence": 0.5})
            run.end_stage("quality_gate", {"passed": False, "principle_scores": [{"id": "META-1", "score": 1}]})
            run.mark_complete()
        assert (await ire_otel.TraceContext.finish(run))["supabase"] == "saved"
        assert any(found.trace_id == run.trace_id for found in await TraceQuery.by_intent("validating"))

    await asyncio.gather(*(trace(number) for number in range(AT_ONCE)))
    queries: tuple[Coroutine[Any, Any, Sequence[object]], ...] = (
        TraceQuery.by_project("cobot"),
        TraceQuery.by_status("complete"),
        TraceQuery.low_scoring_principle("META-1"),
        TraceQuery.quality_gate_failures(),
        TraceQuery.slowest(),
        TraceQuery.decisions("assessed"),
        TraceQuery.search("generic"),
    )
    assert [len(found) for found in await asyncio.gather(*queries)] == [AT_ONCE] * len(queries)
    (pattern,) = await TraceQuery.principle_patterns()
    assert (pattern["fail_count"], pattern["total_runs"]) == (AT_ONCE, AT_ONCE)
    assert (await TraceQuery.summary())["total_runs"] == AT_ONCE
    assert await TraceQuery.by_domain("robotics") == await TraceQuery.flagged_for_review() == []


def test_migrations_run_through_the_pooler(pooled_url: str) -> None:
    """All the way down and up again."""
    target = database(pooled_url, "transaction")
    migrate.downgrade(target)
    migrate.upgrade(target)
    assert migrate.current(target) == migrate.HEAD


def test_a_stalled_server_holds_nobody_for_ever(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line stays open and nothing comes back: saving gives up after its time, and works again afterwards."""
    monkeypatch.setattr(BoundedConnection, "command_timeout", 0.3)
    saved = row(sample_document(), LOCATION)
    with _line(postgres_url) as (url, stalled), closing(RunStore(url)) as store:
        assert store.save([saved]) == {}
        stalled.set()
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"no answer within 0.3 s.*tried again"):
            store.save([saved])
        assert time.monotonic() - began < 5
        stalled.clear()
        assert store.save([saved]) == {}


def test_a_server_that_never_greets_is_given_up(postgres_url: str) -> None:
    """Connecting has a limit of its own, which the URL may set, for psycopg and asyncpg alike."""
    with _line(postgres_url) as (url, stalled):
        stalled.set()
        impatient = f"{url}?connect_timeout=1"
        with closing(RunStore(impatient)) as store, pytest.raises(StoreUnavailableError, match="timeout"):
            store.save([row(sample_document(), LOCATION)])
        with pytest.raises(TimeoutError):
            asyncio.run(_connect(impatient))


def test_a_slow_statement_is_given_up(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of a reader; a migration may take its time."""
    monkeypatch.setattr(BoundedConnection, "command_timeout", 0.3)
    target, sleep = database(postgres_url), sa.text("SELECT pg_sleep(0.6)")
    with pytest.raises(exc.OperationalError, match="no answer"), engine(target).connect() as connection:
        connection.execute(sleep)
    with engine(target, patient=True).connect() as connection:
        assert connection.execute(sleep).one()


@pytest.mark.parametrize("options", ["connect_timeout=5&keepalives=1&channel_binding=prefer", "sslmode=prefer"])
def test_both_drivers_take_the_same_url(postgres_url: str, options: str) -> None:
    """What libpq understands, asyncpg does not have to."""
    url = f"{postgres_url}?{options}"
    assert list_runs(url) == []
    asyncio.run(_connect(url))


async def _connect(url: str) -> None:
    made = async_engine(database(url))
    try:
        async with made.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
    finally:
        await made.dispose()


@contextmanager
def _line(url: str) -> Iterator[tuple[str, threading.Event]]:
    """Give the URL of a line to the server, and what makes everything on it vanish while it is set."""
    direct, stalled = database(url).url, threading.Event()
    ends: list[socket.socket] = []

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if not stalled.is_set():
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.create_connection((direct.host or "", direct.port or 0))
            ends.extend((client, server))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=pass_on, args=(source, target), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield direct.set(port=listening.getsockname()[1]).render_as_string(hide_password=False), stalled
        listening.shutdown(socket.SHUT_RDWR)
    for end in ends:
        end.close()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"pgbouncer did not start: {log.read_text()}")
