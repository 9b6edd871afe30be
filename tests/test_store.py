"""RunStore: what it writes, on both databases, and what it says when it cannot."""

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

import ire_otel
from ire_otel.db import tables
from ire_otel.db.engine import async_engine, database, engine
from ire_otel.db.migrate import HEAD
from ire_otel.db.store import RunStore
from ire_otel.errors import ConfigurationError, RowRefusedError, StoreUnavailableError
from ire_otel.model import StageTrace
from ire_otel.row import Row, row
from tests.runs import document
from tests.sample_document import LOCATION, decision, sample_document

FORKS = 20
PROJECT = "0b4cdf52-6ac0-4f7c-8a86-0d5bb3b2a1a1"
CHILDREN = {
    "principle_scores": tables.trace_principle_scores,
    "stages": tables.trace_stages,
    "decisions": tables.trace_decisions,
    "sources": tables.trace_sources,
    "model_usage": tables.trace_model_usage,
}


@pytest.fixture
def store(database_url: str) -> Any:
    """A store on each database."""
    with closing(RunStore(database_url)) as made:
        yield made


def test_a_row_comes_back_as_it_was_written(store: RunStore, database_url: str) -> None:
    """Every column of the run and of its child rows."""
    written = row(sample_document(), LOCATION)
    assert store.save([written]) == {}
    assert _stored(database_url, written.run.trace_id) == _expected(written)


def test_saving_again_replaces_the_run_and_its_child_rows(store: RunStore, database_url: str) -> None:
    """A later document of the same run leaves nothing of the earlier; so does an earlier one, of the later."""
    long, short = row(sample_document(), LOCATION), row(sample_document(stages={}, status="failed"), None)
    for written in (long, short, short, long):
        store.save([written])
        assert _stored(database_url, written.run.trace_id) == _expected(written)


def test_several_runs_are_saved_at_once(store: RunStore, database_url: str) -> None:
    """Of two documents of one run in a batch, the later counts."""
    rows = [row(sample_document(number), LOCATION) for number in range(1, 9)]
    newer = row(sample_document(3, intent="learning"), LOCATION)
    store.save([*rows, newer])
    for written in [*rows[:2], newer, *rows[3:]]:
        assert _stored(database_url, written.run.trace_id) == _expected(written)


def test_many_rows_are_few_statements_on_sqlite(tmp_path: Path) -> None:
    """Each lets go of the interpreter: beside a thread that computes, a statement a row took 200 ms a run."""
    rows = [row(sample_document(number), LOCATION) for number in range(1, 21)]
    statements: set[str] = set()
    with closing(RunStore(f"sqlite:///{tmp_path / 'traces.db'}")) as store:
        store.save(rows[:1])
        connection = store._connection
        assert connection is not None
        assert connection.driver_connection is not None
        connection.driver_connection.set_trace_callback(statements.add)
        store.save(rows)
    assert len(statements) < len(rows)


def test_what_people_set_stays(store: RunStore, database_url: str) -> None:
    """Flags, notes and the time of creation survive every upsert; updated_at follows it."""
    written = row(sample_document(), LOCATION)
    store.save([written])
    table = tables.traces
    with engine(database(database_url)).begin() as connection:
        connection.execute(sa.update(table).values(flagged_for_review=True, review_notes="look again"))
    human = sa.select(table.c.flagged_for_review, table.c.review_notes, table.c.created_at, table.c.id)
    before = _one(database_url, human)
    store.save([written])
    assert _one(database_url, human) == before
    assert before[:2] == (True, "look again")


def test_a_known_project_is_linked_and_an_unknown_one_is_kept(store: RunStore, database_url: str) -> None:
    """project_id is NULL where `projects` does not know it; the given value stays in project_key."""
    with engine(database(database_url)).begin() as connection:
        connection.execute(sa.insert(tables.projects).values(id=PROJECT, name="cobot"))
    stranger = "11111111-2222-3333-4444-555555555555"
    for number, given in enumerate((PROJECT.upper(), stranger, "uuid-here", None)):
        store.save([row(sample_document(number, project_id=given), LOCATION)])
    columns = sa.select(tables.traces.c.project_id, tables.traces.c.project_key).order_by(tables.traces.c.trace_id)
    with engine(database(database_url)).begin() as connection:
        assert connection.execute(columns).all() == [
            (PROJECT, PROJECT.upper()),
            (None, stranger),
            (None, "uuid-here"),
            (None, None),
        ]
        connection.execute(sa.delete(tables.projects))
        assert connection.scalar(sa.select(sa.func.count(tables.traces.c.project_id))) == 0


def test_odd_values_arrive_in_both(store: RunStore, database_url: str) -> None:
    """NUL, long texts, huge numbers, every alphabet, quotes: mended where a database would refuse, else as given."""
    odd = "a\0b 'quoted' \"%s\" :name ? {} \\ é 漢字 🤖"
    written = row(
        sample_document(
            query=odd,
            intent="x" * 300,
            project_name=odd,
            stages={odd: StageTrace(decisions=[decision(odd, what=odd, inputs={odd: 1})], cost_usd=1e308)},
            outputs={"path": odd},
            quality_gate_failures=10**12,
        ),
        LOCATION,
    )
    assert store.save([written]) == {}
    assert _stored(database_url, written.run.trace_id) == _expected(written)


def test_odd_values_arrive_through_the_whole_exporter(database_url: str) -> None:
    """What a pipeline records that no database would take is in the row, mended, and the document says so."""
    ire_otel.configure(database_url=database_url)
    odd = "a\0b \ud800 'quoted' \"%s\" :name"
    with ire_otel.run(odd, project_name=odd, intent="x" * 300, domain=odd) as run:
        with ire_otel.stage(odd) as stage:
            ire_otel.decide(odd, what={odd: 10**400}, why=odd * 200, confidence=0.5)
            stage.usage(model="m" * 300, input_tokens=10**12, cost_usd=1e308)
        with ire_otel.stage("quality_gate") as gate:
            gate.score("P" * 300, 1, feedback=odd)
        run.set_outputs({"report_path": "p" * 600})
    made = document()
    mended = {warning.partition(":")[0] for warning in made.metadata.warnings or []}
    assert {"intent", "query", "report_file_path"} <= mended
    columns = tables.traces.c
    found = _one(database_url, sa.select(columns.intent, columns.query, columns.report_file_path, columns.input_tokens))
    assert found == ("x" * 50, "a\ufffdb \ufffd 'quoted' \"%s\" :name", None, None)
    assert made.run.intent == "x" * 300
    lines = {name: len(stored) for name, stored in _stored(database_url, made.trace_id).items()}
    assert lines == {"run": 1, "stages": 2, "decisions": 1, "principle_scores": 1, "model_usage": 1, "sources": 0}


def test_a_refused_row_blocks_no_other(store: RunStore, database_url: str) -> None:
    """Content that a database refuses is named; the other runs of the batch are saved."""
    rows = [row(sample_document(number), LOCATION) for number in range(1, 6)]
    bad = msgspec.structs.replace(rows[2], run=msgspec.structs.replace(rows[2].run, started_at=None))
    refused = store.save([*rows[:2], bad, *rows[3:]])
    assert list(refused) == [rows[2].run.trace_id]
    refusal = refused[rows[2].run.trace_id]
    assert isinstance(refusal, RowRefusedError)
    assert refusal.__cause__ is not None
    assert "started_at" in str(refusal)
    for written in [*rows[:2], *rows[3:]]:
        assert _stored(database_url, written.run.trace_id) == _expected(written)
    assert store.save([rows[2]]) == {}


def test_a_view_shows_the_runs_with_gaps(store: RunStore, database_url: str) -> None:
    """The two views of SPEC 3.2 give the same on both databases."""
    store.save([row(sample_document(1), LOCATION), row(sample_document(2, stages={}, status="failed"), LOCATION)])
    with engine(database(database_url)).connect() as connection:
        gaps = connection.execute(sa.text("SELECT trace_id, project_name FROM trace_quality_gaps")).all()
        summary = connection.execute(sa.text("SELECT * FROM trace_intent_summary")).mappings().all()
    assert gaps == [("trc_20260213_0000000000000001", "cobot")]
    assert [dict(found) for found in summary] == [
        {
            "intent": "validating",
            "total_runs": 1,
            "passed": 1,
            "failed": 0,
            "avg_quality": 2.4,
            "avg_duration": 262.0,
            "avg_cost": 0.32,
        }
    ]


def test_a_store_is_usable_again_after_the_database_went_away(empty_database_url: str) -> None:
    """The first failure names place and remedy; once the tables are there, the same store saves."""
    target, written = database(empty_database_url), row(sample_document(), LOCATION)
    with closing(RunStore(empty_database_url)) as store:
        store.save([written]) if target.file else None
        with engine(target).begin() as connection:
            for table in reversed(tables.metadata.sorted_tables):
                table.drop(connection, checkfirst=True)
        with pytest.raises(StoreUnavailableError, match="ire-otel db upgrade") as caught:
            store.save([written])
        assert target.place in str(caught.value)
        with engine(target).begin() as connection:
            tables.metadata.create_all(connection)
            connection.execute(sa.text("CREATE TABLE IF NOT EXISTS ire_otel_alembic_version (version_num VARCHAR(32))"))
            connection.execute(sa.text("DELETE FROM ire_otel_alembic_version"))
            connection.execute(sa.text("INSERT INTO ire_otel_alembic_version VALUES (:head)"), {"head": HEAD})
        assert store.save([written]) == {}
        assert _stored(empty_database_url, written.run.trace_id) == _expected(written)


def test_sqlite_is_made_at_the_first_run(tmp_path: Path) -> None:
    """Folder, file and tables, in write-ahead mode."""
    file = tmp_path / "new" / "brain" / "traces.db"
    with closing(RunStore(f"sqlite:///{file}")) as store:
        store.save([row(sample_document(), LOCATION)])
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM traces").fetchone() == (1,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_many_stores_may_begin_at_once(tmp_path: Path) -> None:
    """Several writers that find no file yet make it once, and all their runs are in it."""
    url = f"sqlite:///{tmp_path / 'traces.db'}"

    def write(first: int) -> None:
        with closing(RunStore(url)) as store:
            for number in range(first, first + 5):
                store.save([row(sample_document(number), LOCATION)])

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 30, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _one(url, sa.select(sa.func.count()).select_from(tables.traces)) == (30,)


def test_children_that_are_forked_while_sums_are_made_can_write(tmp_path: Path) -> None:
    """SQLite keeps the locks of a process in its memory, and a connection must not be carried over a fork."""
    url = f"sqlite:///{tmp_path / 'traces.db'}"
    with closing(RunStore(url)) as store:
        store.save([row(sample_document(number), LOCATION) for number in range(1, 400)])
        working = threading.Thread(target=lambda: all(iter(store.catch_up, False)))
        working.start()
        children: list[int] = []
        while not children or (working.is_alive() and len(children) < FORKS):
            number = 500 + len(children)
            children.append(_forked(lambda: store.save([row(sample_document(number), LOCATION)])))  # noqa: B023 # at once
        working.join()
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
    assert _one(url, sa.select(sa.func.count()).select_from(tables.traces)) == (399 + len(children),)


def _forked(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"this is no database" * 100, "not a database"), (None, "check that the folder")],
)
def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    """One line with the file and what to check; None stands for a folder in the file's place."""
    file = tmp_path / "traces.db"
    file.mkdir() if content is None else file.write_bytes(content)
    with closing(RunStore(f"sqlite:///{file}")) as store, pytest.raises(StoreUnavailableError, match=message) as caught:
        store.save([row(sample_document(), LOCATION)])
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:5432"])
def test_an_unreachable_postgres_is_named_without_its_password(address: str) -> None:
    """Host and port and the remedy, never the password."""
    with (
        closing(RunStore(f"postgresql://user:s3cret@{address}/traces")) as store,
        pytest.raises(StoreUnavailableError, match=f"{address}.*check that it runs") as caught,
    ):
        store.save([row(sample_document(), LOCATION)])
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "traces.db", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "postgresql://h:x/d"]
)
def test_a_url_that_names_no_database_of_ours_is_refused(url: str) -> None:
    """With the two forms that there are."""
    with pytest.raises(ConfigurationError, match=r"sqlite:////.*postgresql://"):
        RunStore(url)


@pytest.mark.parametrize(
    ("url", "pooler", "pooled"),
    [
        ("postgresql://h:6543/d", "", True),
        ("postgres://h/d", "transaction", True),
        ("postgresql+asyncpg://h/d?sslmode=require", "", False),
        ("sqlite:////tmp/x.db", "transaction", False),
    ],
)
def test_a_transaction_pooler_is_recognised(url: str, pooler: str, pooled: bool) -> None:  # noqa: FBT001 # a parameter
    """By its port or by the setting."""
    assert database(url, pooler).transaction_pooler is pooled


def test_an_unknown_connection_option_refuses_no_row() -> None:
    """What is wrong with the connection is not held against the run."""
    with (
        closing(RunStore("postgresql://u:p@127.0.0.1:1/d?no_such_option=1")) as store,
        pytest.raises(StoreUnavailableError, match="no_such_option"),
    ):
        store.save([row(sample_document(), LOCATION)])


def test_nothing_is_prepared_behind_a_transaction_pooler(postgres_url: str) -> None:
    """Rows are written without a prepared statement staying on the server connection."""
    with closing(RunStore(postgres_url, "transaction")) as store:
        for number in range(20):
            store.save([row(sample_document(number), LOCATION)])
        connection = store._connection
        assert connection is not None
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("pooler", ["", "transaction"])
async def test_rows_are_read_asynchronously(store: RunStore, database_url: str, pooler: str) -> None:
    """Aiosqlite and asyncpg see what was written, with and without a pooler."""
    store.save([row(sample_document(), LOCATION)])
    made = async_engine(database(database_url, pooler))
    question = sa.select(tables.traces.c.gap_principles, tables.traces.c.started_at)
    async with made.connect() as connection:
        answers = [(await connection.execute(question)).one() for _ in range(3)]
    await made.dispose()
    assert answers == [(["META-12"], datetime(2026, 2, 13, 10, 30, tzinfo=UTC))] * 3


def _one(url: str, statement: sa.Executable) -> tuple[Any, ...]:
    with engine(database(url)).connect() as connection:
        return tuple(connection.execute(statement).one())


def _stored(url: str, trace_id: str) -> dict[str, list[dict[str, Any]]]:
    """Give everything that the database holds of a run, in the shape of `_expected`."""
    found = {}
    with engine(database(url)).connect() as connection:
        for name, table in {"run": tables.traces, **CHILDREN}.items():
            statement = sa.select(table).where(table.c.trace_id == trace_id)
            found[name] = [_plain(dict(entry)) for entry in connection.execute(statement).mappings()]
    for name in ("id", "flagged_for_review", "review_notes", "created_at", "updated_at"):
        del found["run"][0][name]
    return {name: sorted(entries, key=str) for name, entries in found.items()}


def _expected(written: Row) -> dict[str, list[dict[str, Any]]]:
    parts = {"run": [written.run], **{name: getattr(written, name) for name in CHILDREN}}
    found = {name: [_plain(msgspec.structs.asdict(part)) for part in entries] for name, entries in parts.items()}
    return {name: sorted(entries, key=str) for name, entries in found.items()}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Spell times as rows do, in the order of names."""
    spelt = {
        name: f"{value.replace(tzinfo=None).isoformat(timespec='microseconds')}Z" if hasattr(value, "tzinfo") else value
        for name, value in values.items()
    }
    return dict(sorted(spelt.items()))
