"""What a decision costs in runs of ten to a hundred thousand of them."""

from collections.abc import Iterator
from time import perf_counter, process_time
from typing import Final, NamedTuple

import msgspec

from benchmarks import contenders, memory, reference
from benchmarks.contenders import Contender
from benchmarks.lockstep import contest
from benchmarks.results import Figure, Figures, Goal, Scale

TITLE: Final = "Decisions in a run"
REMARK: Final = (
    "Runs of one stage and ever more decisions, 500 bytes each, OpenTelemetry's limit of 128 events a span lifted. "
    "Caller: time of the calling thread for each decision, beginning and end of the run included. Worker: from the "
    "run's end until it is durable or sent, for each decision; OTel batch sends a stage as one span. Memory: the most "
    "that the process had, mapped journals included, over what it had before, and what it kept afterwards; only of the "
    "first such run of a fresh process, because a later one uses what an earlier one has left free, and looks cheap."
)
CHARTS: Final = ("caller", "worker", "memory, most")
PEERS_UP_TO: Final = 1_000
"""Decisions of a run of a peer; more would take minutes."""
ALWAYS: Final = ("bare", "ire", "otel_batch")


class Size(NamedTuple):
    """How many decisions, and how many all runs of a size have together."""

    decisions: tuple[int, ...]
    together: int
    rounds: int


SIZES: Final = {
    Scale.SMALLEST: Size(decisions=(10, 20), together=40, rounds=2),
    Scale.QUICK: Size(decisions=(100, 1_000, 10_000), together=30_000, rounds=7),
    Scale.FULL: Size(decisions=(10, 100, 1_000, 10_000, 100_000), together=300_000, rounds=11),
}


class Many(msgspec.Struct, frozen=True, kw_only=True):
    """What one run cost."""

    caller: float
    """Microseconds a decision."""
    worker: float
    """Microseconds a decision."""
    process_cpu: float
    """Microseconds a decision."""
    most: float
    """Megabytes."""
    kept: float
    """Megabytes."""


def many(contender: Contender, decisions: int) -> Many:
    """Record one run."""
    given = reference.decisions(decisions)
    before = memory.resident()
    memory.forget_peak()
    peak = memory.peak()
    cpu, began = process_time(), perf_counter()
    contender.record_decisions(given)
    ended = perf_counter()
    contender.settle()
    done, cpu = perf_counter(), process_time() - cpu
    most, kept = memory.peak() - peak, memory.resident() - before
    contender.clean()
    scale = 1e6 / decisions
    return Many(
        caller=(ended - began) * scale, worker=(done - ended) * scale, process_cpu=cpu * scale, most=most, kept=kept
    )


def measure(scale: Scale) -> list[Figure]:
    """Let contenders record runs of each size, in fresh processes."""
    size = SIZES[scale]
    figures: list[Figure] = []
    for decisions in size.decisions:
        names = [
            name
            for name in contenders.taking_part(scale)
            if name in ALWAYS or (decisions <= PEERS_UP_TO and name != "ire_shared" and scale is Scale.FULL)
        ]
        count = max(1, min(size.rounds, size.together // decisions))
        with contest(names) as held:
            held.round(Many, many, 10)
            found = [held.round(Many, many, decisions) for _ in range(count)]
        for rounds, fields in ((found, _TIMES), (found[:1], _MEMORY)):
            for what, field, unit in fields:
                for name in names:
                    samples = [getattr(one[name], field) for one in rounds]
                    figures.append(Figure(what=what, of=name, unit=unit, at=decisions, samples=samples))
    return figures


_TIMES: Final = (("caller", "caller", "µs"), ("worker", "worker", "µs"), ("process CPU", "process_cpu", "µs"))
_MEMORY: Final = (("memory, most", "most", "MB"), ("memory, kept", "kept", "MB"))


def goals(figures: Figures) -> Iterator[Goal]:
    """Hold growth against bare OpenTelemetry's own, and memory and worker against a straight line."""
    growths = [_growth(figures, "caller", name) for name in ("ire", "bare")]
    ours, bare = growths
    yield Goal(
        what="cost per decision, 100 to most decisions: ire-otel's growth over bare OTel's own",
        measured=None if ours is None or bare is None else ours / bare,
        bound=1.0,
        remark="" if ours is None or bare is None else f"{ours:.2f} × against {bare:.2f} ×",
    )
    sizes = figures.sizes("caller", "ire")[-2:]
    for what, name in (("memory, most", "memory"), ("worker", "worker's time")):
        few, most = ([*(figures.median(what, "ire", size) for size in sizes), None, None])[:2]
        factor = sizes[-1] / sizes[0] if what.startswith("memory") and sizes else 1.0
        yield Goal(
            what=f"{name} per decision, the largest run over a tenth of it",
            measured=None if not few or most is None else most / few / factor,
            bound=1.5,
        )


def _growth(figures: Figures, what: str, name: str) -> float | None:
    sizes = [size for size in figures.sizes(what, name) if size >= 100]
    if len(sizes) < 2:
        return None
    few, most = (figures.median(what, name, size) for size in (sizes[0], sizes[-1]))
    return None if not few or most is None else most / few
