"""How long an event loop stands still while the runs that it traced are written or sent."""

import asyncio
from collections.abc import Coroutine, Iterator
from time import perf_counter, process_time, thread_time
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.lockstep import contest
from benchmarks.results import Figure, Figures, Goal, Scale, Size, percentile

TITLE: Final = "Event-loop stall"
REMARK: Final = (
    "A task that wants to wake every millisecond; the longest time between two of its wakings, with nothing going on "
    "(idle), and from the end of the reference run, whose document has 150 KB, until it is written or sent (run end). "
    "The calls of the run itself are not in it. `ours`: of each gap only as much as the other threads of the process "
    "computed in it, so that other processes, which make the gaps of a busy machine, do not count."
)
CHARTS: Final = ("run end, p90",)
BEAT: Final = 0.001
"""Seconds."""
WINDOW: Final = 0.04
"""Seconds that are watched at least."""


SIZES: Final = {
    Scale.SMALLEST: Size(rounds=1, each=2),
    Scale.QUICK: Size(rounds=3, each=12),
    Scale.FULL: Size(rounds=8, each=30),
}
"""How many windows."""


class Gaps(msgspec.Struct, frozen=True, kw_only=True):
    """Longest gaps, in milliseconds, one a window."""

    idle: list[float]
    run_end: list[float]
    run_end_ours: list[float]
    """Gaps in which the other threads of the process computed, counted only with what they computed."""


class _Longest(NamedTuple):
    """Milliseconds."""

    gap: float
    ours: float


def gaps(contender: Contender, windows: int) -> Gaps:
    """Watch the loop with and without the end of a run, in turn."""
    return asyncio.run(_gaps(contender, windows))


async def _gaps(contender: Contender, windows: int) -> Gaps:
    idle, run_end = [], []
    for _ in range(windows):
        idle.append(await _longest(asyncio.sleep(0)))
        contender.record()
        run_end.append(await _longest(asyncio.to_thread(contender.settle)))
        contender.clean()
    return Gaps(
        idle=[one.gap for one in idle],
        run_end=[one.gap for one in run_end],
        run_end_ours=[one.ours for one in run_end],
    )


async def _longest(until: Coroutine[Any, Any, None]) -> _Longest:
    """Give the longest gap until something is done, at least WINDOW."""
    task = asyncio.create_task(until)
    began = last = perf_counter()
    others = _others()
    gap = ours = 0.0
    while not task.done() or last - began < WINDOW:
        await asyncio.sleep(BEAT)
        now, computed = perf_counter(), _others()
        gap = max(gap, now - last)
        ours = max(ours, min(now - last, computed - others))
        last, others = now, computed
    await task
    return _Longest(gap * 1000, ours * 1000)


def _others() -> float:
    """Give the CPU seconds of the process's other threads."""
    return process_time() - thread_time()


def measure(scale: Scale) -> list[Figure]:
    """Let all contenders take turns."""
    size = SIZES[scale]
    names = contenders.taking_part(scale)
    with contest(names) as held:
        held.round(Gaps, gaps, 3)
        rounds = [held.share(Gaps, gaps, size.each) for _ in range(size.rounds)]
    return [
        Figure(
            what=f"{what}, p{percent}",
            of=name,
            unit="ms",
            samples=[percentile(getattr(one[name], field), percent) for one in rounds],
        )
        for what, field in (("idle", "idle"), ("run end", "run_end"), ("run end, ours", "run_end_ours"))
        for percent in (50, 90, 99)
        for name in names
    ]


def goals(figures: Figures) -> Iterator[Goal]:
    """Hold what ire-otel adds against its bound."""
    after, idle = figures.median("run end, p90", "ire"), figures.median("idle, p90", "ire")
    ours = figures.median("run end, ours, p90", "ire")
    yield Goal(
        what="event-loop stall at run end over idle, p90, 150 KB",
        measured=None if after is None or idle is None else after - idle,
        bound=2,
        unit="ms",
        remark="" if ours is None else f"of that our threads computed at most {ours:.1f} ms (p90)",
    )
