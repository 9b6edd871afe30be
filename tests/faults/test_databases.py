"""Postgres stopped, stalled, cut off, locked or without tables, and SQLite locked: rows arrive, and no caller waits."""

import json
import mmap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import pytest
import sqlalchemy as sa

import ire_otel
from ire_otel import settings
from ire_otel.db.engine import database, engine
from ire_otel.db.tables import traces
from ire_otel.journal import arena
from ire_otel.outbox import Outbox
from ire_otel.verification import verify
from tests.databases import POSTGRES, TEMPLATE, fresh_database
from tests.faults import loads, programs
from tests.faults.conftest import RecordFigure
from tests.faults.faulty import FAULTS, Faulty, faulty, held_for
from tests.faults.subprocesses import documents, ended, ire_otel_command, start, until
from tests.runs import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
LOCKED_FOR: Final = 30
"""Seconds that somebody else holds the table."""
AWAY_FOR: Final = 3
"""Seconds that the database is away otherwise."""
PATIENCE: Final = 120
"""Seconds that rows may take once it is back: they wait up to a minute between two tries."""
RUNS: Final = 20
TURNS: Final = 75
"""Of each of two processes."""
AT_MOST: Final = {"decide": 2, "run": 4}
"""Ratios of percentiles under a fault and without."""


@pytest.fixture(params=FAULTS)
def broken(request: pytest.FixtureRequest) -> Iterator[Faulty]:
    """A database that goes away and comes back."""
    with faulty(request.param, request) as made:
        yield made


@pytest.fixture(params=["stopped", "locked SQLite"])
def away(request: pytest.FixtureRequest) -> Iterator[Faulty]:
    """One of each kind that does."""
    with faulty(request.param, request) as made:
        yield made


def test_rows_arrive_by_themselves(
    broken: Faulty, request: pytest.FixtureRequest, figures: RecordFigure, tmp_path: Path
) -> None:
    """All files are written while the database is away, all rows once it is back; nobody starts or stops anything."""
    fault = request.node.callspec.params["broken"]
    ire_otel.configure(database_url=broken.url)
    for number in range(3):
        programs.small_run(f"before {number}")
    if fault != "unmigrated":
        assert ire_otel.flush(60)
    with ire_otel.run(query="meanwhile"):
        broken.take()
        since = time.monotonic()
    for number in range(RUNS):
        programs.small_run(f"while it is away {number}")
    wait_until(lambda: len(documents()) == RUNS + 4, 90)
    held_for(LOCKED_FOR if fault.startswith("locked") else AWAY_FOR, since)
    waiting = len(outbox())
    broken.give()
    back = time.monotonic()
    wait_until(lambda: len(stored(broken)) == RUNS + 4 and not outbox(), PATIENCE)
    figures("rows that waited", waiting)
    figures("seconds until they were written", round(time.monotonic() - back, 1))
    assert_right(broken)


@pytest.mark.parametrize("end", ["exits", "is killed"])
def test_rows_arrive_after_a_restart(broken: Faulty, end: str, figures: RecordFigure) -> None:
    """The process ends while the database is away; `ire-otel recover` writes what is left, once it is back."""
    broken.take()
    process = start(loads.runs_and_then, str(RUNS), end, IRE_OTEL_DATABASE_URL=broken.url)
    lines = until(process, "ready")
    began = time.monotonic()
    done = ended(process, lines)
    figures("seconds that the process took to end", round(time.monotonic() - began, 1))
    assert done.code == (0 if end == "exits" else -9)
    broken.give()
    report = ire_otel_command("recover", IRE_OTEL_DATABASE_URL=broken.url)
    figures("rows that waited", report["rows_waiting"])
    assert (len(documents()), len(stored(broken)), len(outbox())) == (RUNS, RUNS, 0)
    assert_right(broken)


def test_a_row_shows_what_was_written_last(away: Faulty) -> None:
    """Runs that are written again before, while and after the database is away: never an older row over a newer."""
    ire_otel.configure(database_url=away.url)
    with ire_otel.run(query="before") as before:
        pass
    assert ire_otel.flush(60)
    away.take()
    runs = [before]
    for number in range(RUNS):
        with ire_otel.run(query=str(number)) as run:
            pass
        runs.append(run)
    for run in runs[::2]:
        run.mark_failed("while it was away")
    wait_until(lambda: sum(made.run.status == "failed" for made in documents()) == len(runs[::2]), 90)
    away.give()
    for run in runs[1::2]:
        run.mark_failed("when it was back")
    wait_until(lambda: {row["status"] for row in stored(away)} == {"failed"} and not outbox(), PATIENCE)
    assert len(stored(away)) == len(runs)
    assert_right(away)


def test_a_refused_row_is_set_aside(away: Faulty) -> None:
    """A row that the database will not have for its content: named, and in nobody's way, now and in the outbox."""
    refuse(away)
    ire_otel.configure(database_url=away.url)
    for number in range(4):
        programs.small_run("poison" if number == 2 else f"at once {number}")
    ire_otel.flush(60)
    assert len(stored(away)) == 3
    away.take()
    for number in range(RUNS):
        programs.small_run("poison" if number % 5 == 0 else f"later {number}")
    wait_until(lambda: len(documents()) == RUNS + 4, 90)
    away.give()
    wait_until(lambda: len(stored(away)) == 3 + RUNS * 4 // 5 and not outbox(), PATIENCE)
    refused = list(Outbox(Path("brain/_spool").absolute()).refused())
    poisoned = {made.trace_id for made in documents() if made.run.query == "poison"}
    assert {one.trace_id for one in refused} == poisoned
    assert len(poisoned) == 1 + RUNS // 5
    assert all("poison" in one.reason for one in refused)
    report = ire_otel_command("recover", IRE_OTEL_DATABASE_URL=away.url)
    assert {one["trace_id"] for one in report["rows_refused"]} == poisoned


@pytest.mark.parametrize("fault", ["none", *FAULTS])
def test_the_caller_never_waits(fault: str, request: pytest.FixtureRequest, figures: RecordFigure) -> None:
    """The caller's 99th percentiles are at most twice those without the fault for decide(), four times for a run.

    A run without the fault takes the slots of runs that are safe, whose pages are in memory; under it there are none.

    Two processes take turns, a few runs each, so that both see the same noise of the machine; `none` says how much of
    the ratio that noise is. A busy machine makes the run without the fault slower, and so hides what a fault costs.
    """
    kind = "locked SQLite" if fault == "none" else fault
    with faulty(kind, request) as made, well(kind, request) as healthy_url:
        if fault != "none":
            made.take()
        with Lockstep("healthy", healthy_url) as without, Lockstep("faulty", made.url) as under:
            for _ in range(TURNS):
                without.turn()
                under.turn()
            ratios = {what: under.p99(what) / without.p99(what) for what in ("decide", "run")}
            for what, ratio in ratios.items():
                figures(f"p99 of {what} without, ms", round(without.p99(what) / 1e6, 3))
                figures(f"p99 of {what} under the fault, ms", round(under.p99(what) / 1e6, 3))
                figures(f"p99 of {what}, ratio", round(ratio, 2))
            figures("runs measured", 2 * len(under.taken["run"]))
        if fault != "none":
            made.give()
    assert {what: round(ratio, 2) for what, ratio in ratios.items() if ratio > AT_MOST[what]} == {}


def test_the_caller_makes_no_room_for_journals(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, figures: RecordFigure
) -> None:
    """While the worker waits for a stalled database, somebody else than the caller makes room for the next runs."""
    made_by: list[str] = []
    real = arena._mapped

    def mapped(path: Path, size: int) -> mmap.mmap:
        made_by.append(threading.current_thread().name)
        return real(path, size)

    monkeypatch.setattr(arena, "_mapped", mapped)
    with faulty("stalled", request) as made:
        made.take()
        ire_otel.configure(database_url=made.url)
        wait_until(lambda: made_by)
        made_by.clear()
        for _ in range(20 * arena.SLOTS):
            loads.research([])
            time.sleep(loads.PAUSE / 5)
        made.give()
    by_the_caller = made_by.count(threading.main_thread().name)
    figures("files made", len(made_by))
    figures("of those by the caller", by_the_caller)
    assert len(made_by) >= 19
    assert by_the_caller == 0


class Lockstep:
    """A process that traces runs when it is its turn, and says how long they took."""

    def __init__(self, folder: str, database_url: str) -> None:
        brain = str(Path(folder).absolute())
        self._process = start(loads.turns, IRE_OTEL_DATABASE_URL=database_url, IRE_OTEL_BRAIN_DIR=brain)
        self.taken: dict[str, list[int]] = {"decide": [], "run": []}
        self.turn()
        self.taken = {"decide": [], "run": []}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def turn(self) -> None:
        """Let it trace some runs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._process.communicate()[1]
        for what, taken in json.loads(line).items():
            self.taken[what] += taken

    def p99(self, what: str) -> float:
        """Give the 99th percentile in nanoseconds."""
        ordered = sorted(self.taken[what])
        return ordered[len(ordered) * 99 // 100]


@contextmanager
def well(fault: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a database of the same kind, of its own, that nothing befalls."""
    if fault == "locked SQLite":
        yield f"sqlite:///{Path('healthy.db').absolute()}"
    else:
        with fresh_database(request.config, POSTGRES[0], TEMPLATE) as url:
            yield url


def outbox() -> list[Any]:
    """Give the rows that wait."""
    return list(Outbox(Path("brain/_spool").absolute()).waiting())


def stored(of: Faulty) -> list[dict[str, Any]]:
    """Give the rows that are in the database."""
    with engine(database(of.healthy_url)).connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(traces)).mappings()]


def assert_right(of: Faulty) -> None:
    """Files and rows say the same."""
    assert [one.line for one in verify(settings.load({"database_url": of.healthy_url}))] == []


def refuse(of: Faulty) -> None:
    """Have the database refuse runs that are called poison."""
    rule = "ALTER TABLE traces ADD CONSTRAINT no_poison CHECK (query <> 'poison')"
    if of.url.startswith("sqlite"):
        rule = (
            "CREATE TRIGGER no_poison BEFORE INSERT ON traces WHEN NEW.query = 'poison' "
            "BEGIN SELECT RAISE(ABORT, 'no poison'); END"
        )
    with engine(database(of.url)).begin() as connection:
        connection.execute(sa.text(rule))
