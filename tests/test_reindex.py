"""reindex: the database comes back from the files, what people said included."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from ire_otel import reviews
from ire_otel.assembly import encode
from ire_otel.db import reindex as module
from ire_otel.db import tables
from ire_otel.db.engine import database, engine
from ire_otel.db.reindex import reindex
from ire_otel.db.store import RunStore
from ire_otel.errors import ConfigurationError, StoreUnavailableError
from ire_otel.query import TraceQuery
from ire_otel.row import Row
from ire_otel.settings import Settings
from ire_otel.verification import verify
from tests import brains
from tests.sample_document import sample_document

HOUR = 3_600


@pytest.fixture
def brain(tmp_path: Path, database_url: str) -> Settings:
    """Settings of an empty brain folder and a migrated database."""
    (tmp_path / "brain" / "projects").mkdir(parents=True)
    return Settings(brain_dir=tmp_path / "brain", database_url=database_url)


@pytest.fixture
def on_sqlite(tmp_path: Path, sqlite_url: str) -> Settings:
    """The same on SQLite only."""
    (tmp_path / "brain" / "projects").mkdir(parents=True)
    return Settings(brain_dir=tmp_path / "brain", database_url=sqlite_url)


def write(brain: Settings, *numbers: int, age: float = HOUR, **fields: Any) -> list[Path]:
    """Write trace files that are some seconds old."""
    paths = []
    for number in numbers:
        document = sample_document(number, **{"outputs": {}, **fields})
        path = brain.trace_file(document.project_name, document.trace_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(document))
        then = time.time() - age
        os.utime(path, (then, then))
        paths.append(path)
    return paths


def stored(brain: Settings, column: str = "trace_id") -> list[Any]:
    """Give one column of all rows, by trace_id."""
    statement = sa.select(tables.traces.c[column]).order_by(tables.traces.c.trace_id)
    with engine(database(brain.database_url)).connect() as connection:
        return list(connection.scalars(statement))


def change(brain: Settings, **values: Any) -> None:
    """Change columns of all rows."""
    with engine(database(brain.database_url)).begin() as connection:
        connection.execute(sa.update(tables.traces).values(values))


def entry(brain: Settings, number: int, kind: str, **data: Any) -> None:
    """Say something about a run whether it has a row or not."""
    trace_id = sample_document(number).trace_id
    reviews.append(brain, "cobot", trace_id, reviews.Entry(kind=kind, data=data))


@pytest.mark.timeout(240)
def test_a_dropped_database_comes_back(tmp_path: Path, database_url: str) -> None:
    """Every row of every run, and every flag, note and calibration of 20 of them."""
    chosen = brains.configure(tmp_path / "brain", database_url)
    recorded = brains.record(chosen.brain_dir, 500 if "sqlite" in database_url else 100)
    brains.say(recorded[:60:3])
    before = brains.content(database_url)
    assert len(before["trace_calibrations"]) >= 20
    assert sum(row["flagged_for_review"] for row in before["traces"]) == 13
    assert sum(row["review_notes"] is not None for row in before["traces"]) == 20
    brains.drop(database_url)
    done = reindex(chosen)
    assert (done.problems, done.rows_without_file, done.reviewed) == ([], [], 20)
    assert done.written == done.files == len(before["traces"])
    assert brains.content(database_url) == before
    assert [difference.line for difference in verify(chosen)] == []


def test_doing_it_again_changes_nothing(brain: Settings) -> None:
    """Rows newer than their files are left as they are; also written again, they are the same."""
    write(brain, 1, 2, 3)
    entry(brain, 2, reviews.FLAG, flagged=True)
    entry(brain, 2, reviews.NOTE, text="first")
    entry(brain, 2, reviews.NOTE, text="second")
    first, before = reindex(brain), brains.content(brain.database_url)
    again, forced = reindex(brain), reindex(brain, force=True)
    assert [(done.written, done.current) for done in (first, again, forced)] == [(3, 0), (0, 3), (3, 0)]
    assert brains.content(brain.database_url) == before
    assert stored(brain, "review_notes") == [None, "first\n\nsecond", None]


@pytest.mark.parametrize("where", ["row", "place"])
def test_only_what_the_row_lacks_is_written(brain: Settings, where: str) -> None:
    """A file that is newer than its row, or lies elsewhere than the row says, is read again; the others are not."""
    old, _ = write(brain, 1, 2)
    reindex(brain)
    change(brain, domain="changed by hand")
    if where == "row":
        os.utime(old)
    else:
        with engine(database(brain.database_url)).begin() as connection:
            first = tables.traces.c.trace_id == old.stem
            connection.execute(sa.update(tables.traces).where(first).values(trace_file_path=None))
    done = reindex(brain)
    assert (done.written, done.current) == (1, 1)
    assert stored(brain, "domain") == ["robotics", "changed by hand"]


def test_an_interrupted_reindex_goes_on_where_it_stopped(brain: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before stays, and is not written again."""
    monkeypatch.setattr(module, "BATCH", 5)
    write(brain, *range(1, 21))
    told = []

    def interrupted(files: int) -> None:
        told.append(files)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reindex(brain, on_files=interrupted)
    assert len(stored(brain)) == 10
    done = reindex(brain, on_files=told.append)
    assert (done.files, done.written, done.current) == (20, 10, 10)
    assert told[2:] == [5, 5, 5, 5]


def test_a_killed_reindex_goes_on_where_it_stopped(on_sqlite: Settings) -> None:
    """SIGKILL in the middle of it leaves whole runs, or nothing of them."""
    write(on_sqlite, *range(1, 1_001))
    brains.drop(on_sqlite.database_url)
    variables = {"IRE_OTEL_BRAIN_DIR": str(on_sqlite.brain_dir), "IRE_OTEL_DATABASE_URL": on_sqlite.database_url}
    process = subprocess.Popen(
        [Path(sys.executable).with_name("ire-otel"), "db", "reindex"], env={**os.environ, **variables}
    )
    file = Path(on_sqlite.database_url.removeprefix("sqlite:///"))
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        if file.exists() and _count(file):
            break
        time.sleep(0.002)
    process.kill()
    process.wait()
    done = reindex(on_sqlite)
    assert (done.files, done.written + done.current, done.problems) == (1_000, 1_000, [])
    assert done.current > 0
    assert list(verify(on_sqlite)) == []


def _count(file: Path) -> int:
    try:
        with engine(database(f"sqlite:///{file}")).connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(tables.traces)) or 0
    except exc.OperationalError:
        return 0  # not migrated yet


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "is no JSON"),
        (lambda path: path.write_text('{"trace_id": 3}'), "is no trace document"),
        (lambda path: path.write_text('{"schema_version": 99, "metadata": {"otel_trace_id": "1"}}'), "version 99"),
        (lambda path: path.rename(path.with_name("copy of a run.json")), "rename it after its run"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"2026-02-13T10:30:00.000000Z", b"some day")), "ISO"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named_and_skipped(
    on_sqlite: Settings, spoil: Callable[[Path], object], reason: str
) -> None:
    """All other files are in the database."""
    _, spoilt, _ = write(on_sqlite, 1, 2, 3)
    spoil(spoilt)
    done = reindex(on_sqlite)
    assert (done.files, done.written, len(stored(on_sqlite))) == (3, 2, 2)
    (problem,) = done.problems
    assert reason in problem.reason


def test_rows_without_a_file_are_named_and_stay(brain: Settings) -> None:
    """A row may be all that is left of a run; how the file got lost is for a person to find out."""
    gone, _, unwritten = write(brain, 1, 2, 3)
    reindex(brain)
    gone.unlink()
    unwritten.unlink()
    with engine(database(brain.database_url)).begin() as connection:
        third = tables.traces.c.trace_id == unwritten.stem
        connection.execute(sa.update(tables.traces).where(third).values(trace_file_path=None))
    done = reindex(brain, force=True)
    assert done.rows_without_file == [gone.stem, unwritten.stem]
    assert len(stored(brain)) == 3


def test_a_run_written_in_the_meantime_keeps_its_newest_row(brain: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was replaced after it was read, and its row before ours was written, is read again."""
    write(brain, 1, 2)
    save = RunStore.save
    saves: list[int] = []

    def after_another_process(store: RunStore, rows: list[Row]) -> Any:
        if not saves:
            write(brain, 2, domain="later")
        saves.append(len(rows))
        return save(store, rows)

    monkeypatch.setattr(RunStore, "save", after_another_process)
    done = reindex(brain)
    assert (saves, done.written) == ([2, 1], 2)
    assert stored(brain, "domain") == ["robotics", "later"]


@pytest.mark.timeout(240)
def test_what_is_said_meanwhile_is_not_lost(tmp_path: Path, database_url: str) -> None:
    """People write notes while the database is being filled again and again."""
    chosen = brains.configure(tmp_path / "brain", database_url)
    recorded = brains.record(chosen.brain_dir, 8)
    over = threading.Event()

    def fill() -> None:
        while not over.is_set():
            reindex(chosen, force=True)

    filling = threading.Thread(target=fill)
    filling.start()
    try:
        for number in range(30):
            TraceQuery.sync.note(recorded[number % 4], f"note {number}")
    finally:
        over.set()
        filling.join()
    assert [difference.line for difference in verify(chosen)] == []
    notes = [row["review_notes"] for row in brains.content(database_url)["traces"]]
    assert sum(said.count("note") for said in notes if said) == 30


def test_what_was_said_about_a_lost_run_waits_in_its_file(brain: Settings) -> None:
    """It is named; a calibration, which needs no row, is there."""
    entry(brain, 1, reviews.NOTE, text="where is it?")
    entry(brain, 1, "calibration", principle_id="META-12", human_score=1.5)
    (problem,) = reindex(brain).problems
    assert "restore its trace file" in problem.reason
    with engine(database(brain.database_url)).connect() as connection:
        assert connection.scalars(sa.select(tables.trace_calibrations.c.human_score)).all() == [1.5]
    write(brain, 1)
    assert reindex(brain).problems == []
    assert stored(brain, "review_notes") == ["where is it?"]


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("applause", {}, "kind applause, unknown to this ire-otel"),
        ("calibration", {"human_score": "three"}, "Expected `float | null`, got `str`"),
        ("flag_state", {"action": "snooze"}, "an entry of kind flag_state cannot be read"),
    ],
)
def test_what_nobody_understands_is_named(brain: Settings, kind: str, data: dict[str, Any], reason: str) -> None:
    """What else people said is in the database."""
    write(brain, 1, 2)
    entry(brain, 1, kind, **data)
    entry(brain, 2, reviews.FLAG, flagged=True)
    (problem,) = reindex(brain).problems
    assert reason in problem.reason
    assert stored(brain, "flagged_for_review") == [False, True]


def test_what_postgres_refuses_is_named(tmp_path: Path, postgres_url: str) -> None:
    """A note that was written into the file by hand may hold what no text column takes."""
    brain = Settings(brain_dir=tmp_path / "brain", database_url=postgres_url)
    write(brain, 1, 2)
    entry(brain, 1, reviews.NOTE, text="a\0b")
    entry(brain, 2, reviews.NOTE, text="fine")
    (problem,) = reindex(brain).problems
    assert "cannot be brought back" in problem.reason
    assert stored(brain, "review_notes") == [None, "fine"]


def test_a_missing_brain_folder_is_named(tmp_path: Path, sqlite_url: str) -> None:
    """And no database is made for it."""
    with pytest.raises(ConfigurationError, match=r"no folder .*nowhere/projects: check brain_dir"):
        reindex(Settings(brain_dir=tmp_path / "nowhere", database_url=sqlite_url))


def test_postgres_must_be_migrated(tmp_path: Path, empty_postgres_url: str) -> None:
    """It may be somebody else's database: its owner migrates it."""
    (tmp_path / "brain" / "projects").mkdir(parents=True)
    with pytest.raises(StoreUnavailableError, match="ire-otel db upgrade"):
        reindex(Settings(brain_dir=tmp_path / "brain", database_url=empty_postgres_url))


def test_memory_does_not_grow_with_the_number_of_files(on_sqlite: Settings) -> None:
    """Three times the files take as much memory: what was read is let go of, batch by batch."""
    import tracemalloc

    peaks = []
    for first, last in ((1, 200), (200, 600)):
        write(on_sqlite, *range(first, last), query="x" * 20_000)
        tracemalloc.start()
        reindex(on_sqlite, force=True)
        list(verify(on_sqlite))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.3


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ire-otel` in a folder, without a terminal."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"IRE_OTEL_RAISE", "COLUMNS"}}
    program = Path(sys.executable).with_name("ire-otel")
    return subprocess.run(
        [program, *arguments], cwd=folder, env=inherited, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    """In words, or as JSON; the exit code is 1 where a file is left out."""
    chosen = Settings(brain_dir=tmp_path / "brain")
    _, spoilt = write(chosen, 1, 2)
    said = command(tmp_path, "db", "reindex")
    assert said.returncode == 0
    assert said.stdout.startswith("2 trace files: 2 written, 0 were up to date; 0 runs reviewed by people; 0 problems;")
    spoilt.write_text("{")
    as_json = command(tmp_path, "db", "reindex", "--json")
    assert (as_json.returncode, as_json.stderr) == (1, "")
    done = json.loads(as_json.stdout)
    assert (done["files"], done["written"], done["current"]) == (2, 0, 1)
    assert done["problems"][0]["path"] == str(spoilt)
    failed = command(tmp_path, "db", "reindex", "--force")
    assert failed.returncode == 1
    assert f"{spoilt} is no JSON" in failed.stdout


def test_the_command_without_a_brain_folder(tmp_path: Path) -> None:
    """One line, exit code 2."""
    said = command(tmp_path, "db", "reindex")
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1)
    assert "check brain_dir" in said.stderr
    assert not list(tmp_path.iterdir())
