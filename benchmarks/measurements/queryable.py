"""How soon after its end a run can be queried."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter, sleep
from typing import Final

import msgspec

import ire_otel
from benchmarks.contenders import Contender
from benchmarks.lockstep import contest
from benchmarks.results import Figure, Figures, Goal, Scale, Size, percentile
from ire_otel import brain_files
from ire_otel.db.store import RunStore
from ire_otel.settings import Settings

TITLE: Final = "From run end to queryable"
REMARK: Final = (
    "From the end of the reference run until another connection sees its row in SQLite, with a look every 0.2 ms; in "
    "turn with what cannot be saved: the same document written, fsynced and renamed, its folder fsynced, and the same "
    "rows inserted, by the thread that waits."
)
CHARTS: Final = ()
LOOK: Final = 0.0002
"""Seconds."""


SIZES: Final = {
    Scale.SMALLEST: Size(rounds=1, each=3),
    Scale.QUICK: Size(rounds=3, each=50),
    Scale.FULL: Size(rounds=10, each=100),
}
"""How many runs."""


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds, one a run."""

    to_row: list[float]
    own: list[float]


def waits(contender: Contender, runs: int) -> Waits:
    """Record runs and wait for each one's row; in turn, do the same writing by hand."""
    contender.record()
    contender.settle()
    brain = Path("brain").absolute()
    path = next(brain_files.trace_files(Settings(brain_dir=brain)))
    document, (_, row) = path.read_bytes(), brain_files.document_and_row(Settings(brain_dir=brain), path)
    to_row, own = [], []
    by_hand = brain.parent / f"by_hand_{runs}"
    by_hand.mkdir(exist_ok=True)
    with (
        closing(sqlite3.connect(brain / "traces.db")) as looking,
        closing(RunStore(f"sqlite:///{by_hand / 'traces.db'}")) as store,
    ):
        store.save([row])
        for _ in range(runs):
            before = _last(looking)
            contender.record()
            ended = perf_counter()
            while _last(looking) == before:
                sleep(LOOK)
            to_row.append((perf_counter() - ended) * 1000)
            contender.settle()
            contender.clean()
            began = perf_counter()
            _write(by_hand / "document.json", document)
            store.save([row])
            own.append((perf_counter() - began) * 1000)
    assert ire_otel.flush()
    return Waits(to_row=to_row, own=own)


def _last(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT max(rowid) FROM traces").fetchone()
    return int(last or 0)


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def measure(scale: Scale) -> list[Figure]:
    """Wait for many runs."""
    size = SIZES[scale]
    with contest(["ire"]) as held:
        held.one("ire", Waits, waits, 3)
        rounds = [held.one("ire", Waits, waits, size.each) for _ in range(size.rounds)]
    figures = []
    for of, field in (("run end to row", "to_row"), ("its own fsync and insert", "own")):
        pooled = [one for turn in rounds for one in getattr(turn, field)]
        figures += [
            Figure(what=f"p{percent}", of=of, unit="ms", samples=[percentile(pooled, percent)])
            for percent in (50, 95, 99)
        ]
    return figures


def goals(figures: Figures) -> Iterator[Goal]:
    """Hold the slowest against what the work itself takes."""
    slowest, own = (figures.median("p99", of) for of in ("run end to row", "its own fsync and insert"))
    usual = figures.median("p50", "its own fsync and insert")
    yield Goal(
        what="run end to queryable row, p99, over the p99 of its own fsync and insert",
        measured=None if not slowest or not own else slowest / own,
        bound=10,
        remark="" if not slowest or not usual else f"over its median: {slowest / usual:.1f} ×",
    )
