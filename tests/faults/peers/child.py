"""The process in which a system works until the fault.

Called as python -m tests.faults.peers.child CONTENDER SCENARIO SINK_URL FOLDER CHANCE.
"""

import asyncio
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.faults.peers import work
from tests.faults.peers.contenders import Contender, contender

PAUSE: Final = 0.25
"""Seconds after each decision of a run that a fault ends; such a run takes ten seconds, twice the usual batch delay."""
RUNS: Final = 20
CONCURRENT_RUNS: Final = 50
FLOOD_RUNS: Final = 2000
FLOOD_THREADS: Final = 8


class _Fault(Exception):  # noqa: N818 # nobody catches it
    """What the pipeline does not catch."""


def _some_runs(system: Contender, _: int) -> None:
    for number in range(RUNS):
        work.run(system, number)


def _one_run(system: Contender, _: int) -> None:
    work.run(system, RUNS)


def _paced(system: Contender, _: int) -> None:
    work.run(system, 0, lambda _: time.sleep(PAUSE))


def _at_a_random_place(fault: Callable[[], None]) -> Callable[[Contender, int], None]:
    def until_fault(system: Contender, chance: int) -> None:
        last = random.Random(chance).randrange(work.DECISIONS - 1)  # noqa: S311 # a repeatable place, no secret

        def after_each(place: int) -> None:
            if place == last:
                fault()
            time.sleep(PAUSE)

        work.run(system, 0, after_each)

    return until_fault


def _leave_at_once() -> None:
    os._exit(1)


def _raise() -> None:
    raise _Fault


def _concurrent(system: Contender, _: int) -> None:
    async def one(number: int) -> None:
        with system.run(number):
            for index, name in enumerate(work.STAGES):
                with system.stage(name):
                    for place in range(work.DECISIONS_PER_STAGE):
                        work.record(system, number * work.DECISIONS + index * work.DECISIONS_PER_STAGE + place)
                        await asyncio.sleep(PAUSE)

    async def together() -> None:
        await asyncio.gather(*map(one, range(CONCURRENT_RUNS)))

    asyncio.run(together())


def _flood(system: Contender, _: int) -> None:
    with ThreadPoolExecutor(FLOOD_THREADS) as pool:
        list(pool.map(lambda number: work.run(system, number), range(FLOOD_RUNS)))


def _forked(system: Contender, _: int) -> None:
    with system.run(0):
        work.stage(system, "parent", 0)
        child = os.fork()
        if child == 0:
            work.stage(system, "forked", work.DECISIONS_PER_STAGE)
            system.flush()
            os._exit(0)
        os.waitpid(child, 0)


def _spawned(system: Contender, _: int) -> None:
    with system.run(0):
        work.stage(system, "parent", 0)
        carrier = dict(system.carrier())
        os.environ.update({name.upper(): value for name, value in carrier.items()})
        child = multiprocessing.get_context("spawn").Process(target=_in_spawned, args=(*sys.argv[1:], carrier))
        child.start()
        child.join()


def _in_spawned(name: str, _: str, sink_url: str, folder: str, __: str, carrier: Mapping[str, str]) -> None:
    system = contender(name)
    system.start(sink_url, Path(folder))
    with system.attached(carrier):
        work.stage(system, "spawned", work.DECISIONS_PER_STAGE)


SCENARIOS: Final[Mapping[str, Callable[[Contender, int], None]]] = {
    "exit": _some_runs,
    "killed": _paced,
    "terminated": _concurrent,
    "os._exit": _at_a_random_place(_leave_at_once),
    "exception": _at_a_random_place(_raise),
    "outage": _some_runs,
    "one run": _one_run,
    "flood": _flood,
    "forked": _forked,
    "spawned": _spawned,
}


def main() -> None:
    """Work until the end or the fault; each decision that was recorded is told on stdout."""
    name, scenario, sink_url, folder, chance = sys.argv[1:]
    system = contender(name)
    system.start(sink_url, Path(folder))
    SCENARIOS[scenario](system, int(chance))


if __name__ == "__main__":
    main()
