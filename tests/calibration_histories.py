"""Simulated histories of principles, watched after every run, fast enough for thousands of them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from random import Random

from ire_otel.calibration.policies import (
    RATE_LEVEL,
    RATE_LOOKS,
    RATE_MINIMUM,
    RATE_WINDOW,
    History,
    ScoredRun,
)
from ire_otel.calibration.statistics import benjamini_hochberg, scan_p_value

PRINCIPLES = 21
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BETWEEN_RUNS = timedelta(hours=2.4)
"""Ten runs a day."""


def seeded(seed: int) -> Random:
    """Chance that is the same every time."""
    return Random(seed)  # noqa: S311 # nothing here is secret


def outcomes(random: Random, *parts: tuple[int, float]) -> list[bool]:
    """Draw whether each run fails: parts of so many runs that fail with such a chance."""
    return [random.random() < rate for runs, rate in parts for _ in range(runs)]


def moment(run: int) -> datetime:
    """When the run of that number, from 0, starts."""
    return BEGIN + run * BETWEEN_RUNS


def history(failed: Sequence[bool], principle_id: str = "META-12", intent: str | None = "validating") -> History:
    """The outcomes as a history of market research, ten runs a day."""
    runs = [ScoredRun(started_at=moment(run), failed=outcome) for run, outcome in enumerate(failed)]
    return History(principle_id=principle_id, intent=intent, report_type="market_research", runs=runs)


def looks_that_flag(principles: Sequence[Sequence[bool]], *, after: int = 0) -> Iterator[int]:
    """Give the looks at which `rate` flags any of 21 principles, as the number of runs so far, from `after` runs on.

    The same answer as `rate_flags` at each look, but works out only what can become a flag: a principle whose p-value
    is above the level of all cannot. Principles that are not given never fail.
    """
    suspicious: defaultdict[int, list[float]] = defaultdict(list)
    for failed in principles:
        totals = [0, *accumulate(failed)]
        for runs in range(max(after + 1, RATE_MINIMUM), len(totals)):
            window = min(RATE_WINDOW, runs // 3)
            failures = totals[runs]
            recent = failures - totals[runs - window]
            if recent >= _least(runs)[failures]:
                suspicious[runs].append(_p_value(recent, window, failures, runs))
    for runs, p_values in sorted(suspicious.items()):
        if min(benjamini_hochberg(p_values + [1.0] * (PRINCIPLES - len(p_values)))) <= RATE_LEVEL:
            yield runs


class _Least(dict[int, int]):
    """By failures of so many runs: the fewest recent ones with a p-value that is not above the level."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self._runs = runs
        self._window = min(RATE_WINDOW, runs // 3)

    def __missing__(self, failures: int) -> int:
        recent = min(self._window, failures)
        possible = max(0, self._window + failures - self._runs)
        while recent >= possible and _p_value(recent, self._window, failures, self._runs) <= RATE_LEVEL:
            recent -= 1
        self[failures] = recent + 1
        return recent + 1


_least = cache(_Least)


@cache
def _p_value(recent: int, window: int, failures: int, runs: int) -> float:
    return scan_p_value(recent, window, failures, runs, looks=RATE_LOOKS)
