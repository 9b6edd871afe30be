"""One contender in a process of its own: told on stdin how many runs to do, it says on stdout what they cost."""

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns, process_time_ns, sleep, thread_time_ns

import msgspec
from opentelemetry.sdk.trace import TracerProvider

from benchmarks.bare import Bare
from benchmarks.batch import Batch
from benchmarks.contender import Contender
from benchmarks.ire import Ire

PAUSE = 0.003
"""Seconds after each paced run, for all contenders alike: real runs do not follow each other on a warm cache."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What one turn of a contender cost; times in microseconds."""

    caller: list[float]
    """Wall time on the calling thread, one a run, each run settled, and a pause made, before the next begins."""
    caller_cpu: list[float]
    """CPU time of the calling thread, for the same runs."""
    busy_caller: list[float]
    """Wall time on the calling thread, one a run, the runs one right after the other."""
    process_cpu: float
    """CPU time of the whole process per run, the runs one right after the other, until everything is settled."""


def turn(contender: Contender, runs: int) -> Turn:
    """Do `runs` runs with a pause after each, then as many without, and take what was written away."""
    paced = []
    for _ in range(runs):
        paced.append(_timed(contender))
        contender.settle()
        sleep(PAUSE)
    contender.clean()
    began = process_time_ns()
    busy = [_timed(contender) for _ in range(runs)]
    contender.settle()
    process_cpu = (process_time_ns() - began) / runs / 1000
    contender.clean()
    return Turn(
        caller=[wall for wall, _ in paced],
        caller_cpu=[cpu for _, cpu in paced],
        busy_caller=[wall for wall, _ in busy],
        process_cpu=process_cpu,
    )


def _timed(contender: Contender) -> tuple[float, float]:
    cpu, wall = thread_time_ns(), perf_counter_ns()
    contender.record()
    return (perf_counter_ns() - wall) / 1000, (thread_time_ns() - cpu) / 1000


def _contender(name: str, sink: str, folder: Path) -> Contender:
    makers: dict[str, Callable[[], Contender]] = {
        "bare": Bare,
        "ire": lambda: Ire(folder),
        "shared": lambda: Ire(folder, TracerProvider()),
        "batch": lambda: Batch(sink),
    }
    return makers[name]()


def main() -> None:
    """Take turns until stdin ends."""
    name, sink, folder = sys.argv[1:]
    contender = _contender(name, sink, Path(folder))
    for line in sys.stdin:
        print(msgspec.json.encode(turn(contender, int(line))).decode(), flush=True)
    contender.close()


if __name__ == "__main__":
    main()
