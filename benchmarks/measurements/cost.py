"""What a run costs the thread that traces it, and the process."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from time import perf_counter_ns, process_time_ns, sleep, thread_time_ns
from typing import Final, NamedTuple

import msgspec

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.lockstep import contest
from benchmarks.results import Figure, Figures, Goal, Scale, percentile

TITLE: Final = "Cost of a run"
REMARK: Final = (
    "The reference run, again and again. Caller thread: the time that the calls of one run take on the thread that "
    "makes them, each run written or sent, and a pause of 3 ms made, before the next begins; `busy`: one right after "
    "the other; `beside a busy thread`: while another Python thread of the process computes. Process CPU: of all "
    "threads, until everything is durable (files fsynced and rows written) or sent. Lost: spans (ire-otel: runs) that "
    "were recorded but not found at the end. Logfire, Langfuse, LangSmith and MLflow do a quarter of the runs a turn."
)
CHARTS: Final = ("caller thread", "process CPU")
PAUSE: Final = 0.003
"""Seconds after each paced run: real runs do not follow each other on a warm cache."""
WARM_UP: Final = 8
"""Rounds until the journals that are kept for late spans, those of some 320 runs, have stopped growing."""


class Size(NamedTuple):
    """How often."""

    rounds: int
    runs: int
    warm_up: int = WARM_UP


SIZES: Final = {
    Scale.SMALLEST: Size(rounds=2, runs=2, warm_up=0),
    Scale.QUICK: Size(rounds=6, runs=20),
    Scale.FULL: Size(rounds=30, runs=20),
}


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What one turn of a contender cost; times in microseconds."""

    caller: list[float]
    """Wall time on the calling thread, one a run, each run settled, and a pause made, before the next begins."""
    caller_cpu: list[float]
    """CPU time of the calling thread, for the same runs."""
    busy: list[float]
    """Wall time on the calling thread, one a run, the runs one right after the other."""
    beside: list[float]
    """Wall time on the calling thread, paced, while another thread computes."""
    process_cpu: float
    """CPU time of the whole process per run, the runs one right after the other, until everything is settled."""


def turn(contender: Contender, runs: int) -> Turn:
    """Do `runs` runs with a pause after each, as many without, a quarter beside a busy thread; take them away."""
    paced = list(_paced(contender, runs))
    contender.clean()
    began = process_time_ns()
    busy = [_timed(contender) for _ in range(runs)]
    contender.settle()
    process_cpu = (process_time_ns() - began) / runs / 1000
    contender.clean()
    beside = _beside(contender, max(1, runs // 4))
    contender.clean()
    return Turn(
        caller=[wall for wall, _ in paced],
        caller_cpu=[cpu for _, cpu in paced],
        busy=[wall for wall, _ in busy],
        beside=beside,
        process_cpu=process_cpu,
    )


def _paced(contender: Contender, runs: int) -> Iterator[tuple[float, float]]:
    for _ in range(runs):
        yield _timed(contender)
        contender.settle()
        sleep(PAUSE)


def _beside(contender: Contender, runs: int) -> list[float]:
    stop = threading.Event()
    thread = threading.Thread(target=_compute, args=(stop,))
    thread.start()
    try:
        return [wall for wall, _ in _paced(contender, runs)]
    finally:
        stop.set()
        thread.join()


def _compute(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(number * number for number in range(1_000))


def _timed(contender: Contender) -> tuple[float, float]:
    cpu, wall = thread_time_ns(), perf_counter_ns()
    contender.record()
    return (perf_counter_ns() - wall) / 1000, (thread_time_ns() - cpu) / 1000


_EACH: Final[Mapping[str, Callable[[Turn], float]]] = {
    "caller thread": lambda turn: median(turn.caller),
    "caller thread, CPU": lambda turn: median(turn.caller_cpu),
    "caller thread, busy": lambda turn: median(turn.busy),
    "caller thread, beside a busy thread": lambda turn: median(turn.beside),
    "process CPU": lambda turn: turn.process_cpu,
}
"""Figures with one sample a round."""
_ALL: Final[Mapping[str, Callable[[Turn], Sequence[float]]]] = {
    "caller thread, p99": lambda turn: turn.caller,
    "caller thread, busy, p99": lambda turn: turn.busy,
}
"""Figures over the runs of all rounds."""


def measure(scale: Scale) -> list[Figure]:
    """Let all contenders take turns."""
    size = SIZES[scale]
    names = contenders.taking_part(scale)
    with contest(names) as held:
        for _ in range(size.warm_up):
            held.share(Turn, turn, size.runs)
        rounds = [held.share(Turn, turn, size.runs) for _ in range(size.rounds)]
    figures = [
        Figure(what=what, of=name, unit="µs", samples=[measured(turns[name]) for turns in rounds])
        for what, measured in _EACH.items()
        for name in names
    ]
    for what, runs in _ALL.items():
        for name in names:
            pooled = [one for turns in rounds for one in runs(turns[name])]
            figures.append(Figure(what=what, of=name, unit="µs", samples=[percentile(pooled, 99)]))
    return figures + list(held.losses())


def goals(figures: Figures) -> Iterator[Goal]:
    """Hold the caller's and the process's time against the others'."""
    cpu = figures.ratio("caller thread, CPU", "ire", "bare")
    yield Goal(
        what="caller thread per run, journal on, over bare OTel",
        measured=figures.ratio("caller thread", "ire", "bare"),
        bound=1.4,
        aim=1.2,
        remark="" if cpu is None else f"of its CPU time: {cpu:.2f} ×",
    )
    for peer, factor in {"logfire_sdk": 5, "langfuse_sdk": 8, "mlflow_sqlite": 8}.items():
        yield Goal(
            what=f"caller thread per run, {contenders.module(peer).TITLE} over ire-otel",
            measured=figures.ratio("caller thread", peer, "ire"),
            bound=factor,
            at_least=True,
        )
    yield Goal(
        what="caller thread per run beside a busy thread, over bare OTel beside one",
        measured=figures.ratio("caller thread, beside a busy thread", "ire", "bare"),
        bound=1.5,
    )
    yield Goal(
        what="process CPU per run, all durable, over OTel batch with OTLP/HTTP",
        measured=figures.ratio("process CPU", "ire", "otel_batch"),
        bound=1.0,
        aim=0.8,
    )
