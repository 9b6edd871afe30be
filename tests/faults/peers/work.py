"""The work that every system records: a run of 5 stages, 8 decisions each, every decision with a number of its own."""

import os
import re
from collections.abc import Callable, Iterator
from typing import Final

from tests.faults.peers.contenders import Contender

STAGES: Final = ("intake", "rubric", "collection", "synthesis", "quality_gate")
DECISIONS_PER_STAGE: Final = 8
DECISIONS: Final = len(STAGES) * DECISIONS_PER_STAGE
"""Decisions of a run."""
_NUMBER: Final = re.compile(rb"decision=(\d{7});")
_REASON: Final = "The source answers the question of the run, names its method and is younger than the others. " * 5


def numbers_in(stored: bytes) -> Iterator[int]:
    """Find the decisions in whatever a system has stored or sent."""
    return map(int, _NUMBER.findall(stored))


def record(contender: Contender, number: int) -> None:
    """Tell the parent process that the call which recorded decision `number` has returned."""
    contender.decide(f"decision={number:07d}; {_REASON}")
    os.write(1, b"%d\n" % number)


def stage(contender: Contender, name: str, first: int) -> None:
    """Record one stage, whose decisions are numbered from `first` on."""
    with contender.stage(name):
        for number in range(first, first + DECISIONS_PER_STAGE):
            record(contender, number)


def run(contender: Contender, number: int, after_each: Callable[[int], None] = lambda _: None) -> None:
    """Record one run; `after_each` decision it is called with the decision's place in the run, from 0 on."""
    with contender.run(number):
        for index, name in enumerate(STAGES):
            with contender.stage(name):
                for place in range(index * DECISIONS_PER_STAGE, (index + 1) * DECISIONS_PER_STAGE):
                    record(contender, number * DECISIONS + place)
                    after_each(place)
