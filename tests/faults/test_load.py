"""Ten thousand runs as fast as they go: every one in file and row, and no memory, disk space or patience used up."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import pytest
import sqlalchemy as sa

from ire_otel.db.engine import database, engine
from ire_otel.db.tables import traces
from tests.databases import POSTGRES, TEMPLATE, fresh_database
from tests.faults import loads
from tests.faults.conftest import RecordFigure
from tests.faults.subprocesses import Ended, ended, ire_otel_command, start

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
RUNS: Final = 10_000
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MEGABYTE: Final = 1024 * 1024
GROWTH: Final = 1.2
"""How much more memory than in its first half a process may use in its second."""
LONG: Final = 500
"""Seconds; on two cores of its own a minute is enough."""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of each kind; of Postgres, one version."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
    else:
        with fresh_database(request.config, POSTGRES[0], TEMPLATE) as made:
            yield made


@pytest.mark.parametrize(("processes", "threads"), [(1, 8), (4, 1)])
def test_ten_thousand_runs(url: str, processes: int, threads: int, figures: RecordFigure) -> None:
    """From eight threads or four processes: all files, all rows, nothing to verify, flat memory, no warning."""
    began = time.monotonic()
    running = [
        start(loads.load, str(RUNS // processes), str(threads), IRE_OTEL_DATABASE_URL=url) for _ in range(processes)
    ]
    with Watched(running) as watched:
        done = [ended(process, within=LONG) for process in running]
    took = time.monotonic() - began
    assert [(one.code, one.errors) for one in done] == [(0, "")] * processes
    written = max(_seconds(one, "written") for one in done)
    figures("runs", RUNS)
    figures("runs a second, recorded", round(RUNS / max(_seconds(one, "recorded") for one in done)))
    figures("runs a second, in file and row", round(RUNS / written))
    figures("seconds, with start and end", round(took, 1))
    figures("most memory of a process, MB", round(watched.most_memory() / MEGABYTE))
    figures("memory in the second half over that in the first", round(watched.growth(), 2))
    figures("most disk space of journals, MB", round(watched.most_disk / MEGABYTE))
    _assert_complete(url)
    assert watched.growth() <= GROWTH


def _assert_complete(url: str) -> None:
    files = list(Path("brain").glob("projects/load/_traces/*.json"))
    assert len(files) == RUNS
    with engine(database(url)).connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(traces)) == RUNS
    found = ire_otel_command("verify", IRE_OTEL_DATABASE_URL=url)
    assert (found["files"], found["differences"]) == (RUNS, [])
    report = ire_otel_command("recover", IRE_OTEL_DATABASE_URL=url)
    assert (report["traces"], report["rows_waiting"], report["problems"]) == ([], 0, [])


def _seconds(done: Ended, what: str) -> float:
    (line,) = (line for line in done.lines if line.startswith(what))
    return float(line.partition(" ")[2])


class Watched:
    """Looks at the memory of processes, and at the disk space of their journals, for as long as they run."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._memory: dict[int, list[int]] = {process.pid: [] for process in processes}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most_disk = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def most_memory(self) -> int:
        """Give the most bytes that one of the processes had in memory, mapped journals left out."""
        return max(max(samples) for samples in self._memory.values())

    def growth(self) -> float:
        """Give the most memory in the second half of a process's time over that in the first; the largest of all."""
        halves = [(samples[: len(samples) // 2], samples[len(samples) // 2 :]) for samples in self._memory.values()]
        return max(max(second) / max(first) for first, second in halves)

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            for pid, samples in self._memory.items():
                try:
                    _, resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[:3]
                except OSError:
                    continue
                if int(resident):
                    samples.append((int(resident) - int(shared)) * PAGE)
            self.most_disk = max(self.most_disk, _disk_space(Path("brain/_spool/journals")))


def _disk_space(folder: Path) -> int:
    total = 0
    for path in folder.glob("*/*.arena"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            continue
    return total
