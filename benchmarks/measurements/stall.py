"""How long an event loop stands still while the runs that it traced are written or sent."""

import asyncio
from collections.abc import Coroutine, Iterator
from time import perf_counter
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.lockstep import contest
from benchmarks.results import Figure, Figures, Goal, Scale, percentile

TITLE: Final = "Event-loop stall"
REMARK: Final = (
    "A task that wants to wake every millisecond; the longest time between two of its wakings, with nothing going on "
    "(idle), and from the end of the reference run, whose document has 150 KB, until it is written or sent (run end). "
    "The calls of the run itself are not in it."
)
CHARTS: Final = ("run end, p90",)
BEAT: Final = 0.001
"""Seconds."""
WINDOW: Final = 0.04
"""Seconds that are watched at least."""


class Size(NamedTuple):
    """How often."""

    rounds: int
    windows: int


SIZES: Final = {
    Scale.SMALLEST: Size(rounds=1, windows=2),
    Scale.QUICK: Size(rounds=4, windows=15),
    Scale.FULL: Size(rounds=8, windows=30),
}


class Gaps(msgspec.Struct, frozen=True, kw_only=True):
    """Longest gaps, in milliseconds, one a window."""

    idle: list[float]
    run_end: list[float]


def gaps(contender: Contender, windows: int) -> Gaps:
    """Watch the loop with and without the end of a run, in turn."""
    return asyncio.run(_gaps(contender, windows))


async def _gaps(contender: Contender, windows: int) -> Gaps:
    idle, run_end = [], []
    for _ in range(windows):
        idle.append(await _longest_gap(asyncio.sleep(0)))
        contender.record()
        run_end.append(await _longest_gap(asyncio.to_thread(contender.settle)))
        contender.clean()
    return Gaps(idle=idle, run_end=run_end)


async def _longest_gap(until: Coroutine[Any, Any, None]) -> float:
    """Give the milliseconds of the longest gap until something is done, at least WINDOW."""
    task = asyncio.create_task(until)
    began = last = perf_counter()
    longest = 0.0
    while not task.done() or last - began < WINDOW:
        await asyncio.sleep(BEAT)
        now = perf_counter()
        longest, last = max(longest, now - last), now
    await task
    return longest * 1000


def measure(scale: Scale) -> list[Figure]:
    """Let all contenders take turns."""
    size = SIZES[scale]
    names = list(contenders.FIRST) if scale is Scale.SMALLEST else contenders.present()
    with contest(names) as held:
        held.round(Gaps, gaps, 3)
        rounds = [held.share(Gaps, gaps, size.windows) for _ in range(size.rounds)]
    return [
        Figure(
            what=f"{what}, p{percent}",
            of=name,
            unit="ms",
            samples=[percentile(getattr(one[name], field), percent) for one in rounds],
        )
        for what, field in (("idle", "idle"), ("run end", "run_end"))
        for percent in (50, 90, 99)
        for name in names
    ]


def goals(figures: Figures) -> Iterator[Goal]:
    """Hold what ire-otel adds against its bound."""
    after, idle = figures.median("run end, p90", "ire"), figures.median("idle, p90", "ire")
    yield Goal(
        what="event-loop stall at run end over idle, p90, 150 KB",
        measured=None if after is None or idle is None else after - idle,
        bound=2,
        unit="ms",
    )
