"""How many runs a second can go on without loss, and what memory does meanwhile."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Final, NamedTuple

import msgspec

from benchmarks import memory
from benchmarks.contenders import Contender
from benchmarks.lockstep import contest
from benchmarks.results import Figure, Figures, Goal, Scale, percentile

TITLE: Final = "Sustained rate"
REMARK: Final = (
    "Eight threads that begin reference runs at a fixed rate, for some seconds, each rate in a fresh process; the "
    "contenders take turns at each rate. Lost: what was not found at the end. Backlog: seconds from the last run's "
    "end until all of it was durable or sent. A rate is sustained where nothing is lost, the threads kept to it, and "
    "the backlog was at most two seconds. Trace files are deleted meanwhile by another process, as a growing folder "
    "measures the disk's cache; the sink of OTel batch is another process as well."
)
CHARTS: Final = ("lost", "backlog", "memory, most")
NAMES: Final = ("ire", "otel_batch")
THREADS: Final = 8
BACKLOG: Final = 2.0
"""Seconds that a sustained rate may leave to do."""
KEPT_UP: Final = 0.97
"""Share of the offered rate that callers who are not blocked reach."""


class Size(NamedTuple):
    """Which rates, in runs a second, and for how long."""

    rates: tuple[int, ...]
    milliseconds: int


SIZES: Final = {
    Scale.SMALLEST: Size(rates=(40,), milliseconds=500),
    Scale.QUICK: Size(rates=(200, 400), milliseconds=2_000),
    Scale.FULL: Size(rates=(100, 150, 200, 250, 300, 350, 400, 450, 500, 600), milliseconds=8_000),
}


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one rate."""

    rate: float
    """Runs a second that were recorded."""
    caller: list[float]
    """Milliseconds of each run."""
    backlog: float
    """Seconds."""
    memory: list[float]
    """Megabytes, about ten times a second."""


def load(contender: Contender, rate: int, milliseconds: int) -> Load:
    """Record so many runs a second from THREADS threads, and watch."""
    of_thread = rate * milliseconds // 1000 // THREADS
    contender.record()
    contender.settle()
    taken: list[float] = []
    resident: list[float] = []
    began = perf_counter()

    def pipeline(number: int) -> None:
        for turn in range(of_thread):
            due = began + (turn * THREADS + number) / rate
            sleep(max(0.0, due - perf_counter()))
            started = perf_counter()
            contender.record()
            taken.append((perf_counter() - started) * 1000)

    threads = [threading.Thread(target=pipeline, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        resident.append(memory.resident())
        sleep(0.1)
    ended = perf_counter()
    contender.settle()
    done = perf_counter()
    return Load(rate=len(taken) / (ended - began), caller=taken, backlog=done - ended, memory=resident)


def measure(scale: Scale) -> list[Figure]:
    """Try each rate with each contender."""
    size = SIZES[scale]
    figures: list[Figure] = []
    for rate in size.rates:
        for name in NAMES:
            with contest([name]) as held, _deleting(held.folder):
                done = held.one(name, Load, load, rate, size.milliseconds)
            kept = held.kept[name]
            # The first run, a warm-up, is in both.
            lost = 100 * (kept.recorded - kept.kept) / kept.recorded
            figures += _figures(name, rate, done, lost)
    return figures


def _figures(name: str, rate: int, done: Load, lost: float) -> Iterator[Figure]:
    half = len(done.memory) // 2
    found = {
        "rate reached": (done.rate, "runs/s"),
        "lost": (lost, "%"),
        "caller, p50": (percentile(done.caller, 50), "ms"),
        "caller, p99": (percentile(done.caller, 99), "ms"),
        "backlog": (done.backlog, "s"),
        "memory, most": (max(done.memory), "MB"),
        "memory, second half over first": (max(done.memory[half:]) / max(done.memory[: max(half, 1)]), "×"),
    }
    for what, (value, unit) in found.items():
        yield Figure(what=what, of=name, unit=unit, at=rate, samples=[value])


@contextmanager
def _deleting(folder: Path) -> Iterator[None]:
    """Delete finished trace files twice a second, from this process."""
    stop = threading.Event()

    def delete() -> None:
        while not stop.wait(0.5):
            command = ["find", str(folder), "-path", "*/_traces/*", "-name", "trc_*.json", "-delete"]
            subprocess.run(command, check=False, capture_output=True)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def sustained(figures: Figures, name: str) -> float | None:
    """Give the highest rate up to which everything was sustained; None where not even the lowest was."""
    highest = None
    for rate in figures.sizes("lost", name):
        values = [figures.median(what, name, rate) for what in ("lost", "backlog", "rate reached")]
        lost, backlog, reached = (value or 0.0 for value in values)
        if lost > 0 or backlog > BACKLOG or reached < KEPT_UP * rate:
            break
        highest = rate
    return highest


def begins_to_drop(figures: Figures, name: str) -> float | None:
    """Give the lowest rate at which something was lost."""
    rates = figures.sizes("lost", name)
    return next((rate for rate in rates if (figures.median("lost", name, rate) or 0) > 0), None)


def goals(figures: Figures) -> Iterator[Goal]:
    """Hold what ire-otel sustains against the rate at which OTel's batches begin to lose spans."""
    drops = begins_to_drop(figures, "otel_batch")
    rates = figures.sizes("lost", "otel_batch")
    remark = "" if drops is not None or not rates else "OTel batch lost nothing at any rate; the bound is the last"
    yield Goal(
        what="sustained rate, 8 threads, nothing lost, callers not blocked; bound: where OTel batch begins to lose",
        measured=(sustained(figures, "ire") or 0.0) if rates else None,
        bound=drops if drops is not None else (rates[-1] if rates else 0.0),
        unit="runs/s",
        at_least=True,
        remark=remark,
    )
