"""What measurements give: figures, each with every single sample, and goals held against them."""

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from statistics import median, quantiles
from typing import Any, NamedTuple

import msgspec


class Scale(StrEnum):
    """How much is measured."""

    SMALLEST = "smallest"
    """For the tests: every part once, figures without meaning."""
    QUICK = "quick"
    """A first look: all measurements in under three minutes on two cores."""
    FULL = "full"
    """What docs/performance.md states: up to an hour."""


class Size(NamedTuple):
    """How often a measurement does what it measures."""

    rounds: int
    each: int
    """In one round: runs, calls, or what else is measured."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number, measured again and again."""

    what: str
    """E.g. `caller thread`."""
    of: str
    """What it was measured of: a contender, a query, a database."""
    unit: str
    samples: list[float]
    """One a round; figures of contenders in lockstep have the same rounds."""
    at: float | None = None
    """The size at which it was measured, where it was measured at several: decisions in a run, runs in a database."""
    remark: str = ""

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The bounds of the middle half of the samples."""
        if len(self.samples) == 1:
            return self.samples[0], self.samples[0]
        low, _, high = quantiles(self.samples, n=4, method="inclusive")
        return low, high


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What ire-otel means to keep, and what was measured."""

    what: str
    measured: float | None
    """None where it could not be measured."""
    bound: float
    unit: str = "×"
    at_least: bool = False
    """True where more is better."""
    aim: float | None = None
    """The better value that is hoped for."""
    remark: str = ""

    @property
    def verdict(self) -> str:
        """Say met, not met, or not measured."""
        if self.measured is None:
            return "not measured"
        met = self.measured >= self.bound if self.at_least else self.measured <= self.bound
        return "met" if met else "not met"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one measurement found."""

    name: str
    title: str
    scale: Scale = Scale.FULL
    figures: list[Figure]
    goals: list[Goal]
    seconds: float
    load: tuple[float, float]
    """The machine's load average over a minute, before and after."""
    failed: str | None = None
    """Why there are no figures."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that one call measured, as --json writes it."""

    scale: Scale
    surroundings: dict[str, Any]
    absent: dict[str, str]
    """Contenders that were left out, and why."""
    measured: list[Measured]


class Figures:
    """The figures of a measurement, to look up by what, of and at."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self._figures = {(one.what, one.of, one.at): one for one in figures}

    def get(self, what: str, of: str, at: float | None = None) -> Figure | None:
        """Give a figure; None where it was not measured."""
        return self._figures.get((what, of, at))

    def median(self, what: str, of: str, at: float | None = None) -> float | None:
        """Give the median of a figure."""
        found = self.get(what, of, at)
        return None if found is None else found.median

    def ratio(self, what: str, of: str, against: str, at: float | None = None) -> float | None:
        """Give the median over the rounds of one contender's figure over another's in the same round."""
        figure, other = self.get(what, of, at), self.get(what, against, at)
        return None if figure is None or other is None else ratio(figure, other)

    def sizes(self, what: str, of: str) -> list[float]:
        """Give the sizes at which something was measured, the smallest first."""
        return sorted(at for (one, whose, at) in self._figures if (one, whose) == (what, of) and at is not None)

    def growth(self, what: str, of: str) -> float | None:
        """Give the median at the largest size over that at the smallest; None where there are not two."""
        sizes = self.sizes(what, of)
        if len(sizes) < 2:
            return None
        return self._figures[what, of, sizes[-1]].median / self._figures[what, of, sizes[0]].median

    def steps(self, what: str, of: str) -> list[float]:
        """Give the growth from each size to the next."""
        medians = [self._figures[what, of, at].median for at in self.sizes(what, of)]
        return [after / before for before, after in pairwise(medians)]


def ratio(figure: Figure, other: Figure) -> float:
    """Compare round by round where both have the same rounds, else the medians."""
    if len(figure.samples) != len(other.samples):
        return figure.median / other.median
    return median(one / reference for one, reference in zip(figure.samples, other.samples, strict=True))


def percentile(samples: Sequence[float], percent: int) -> float:
    """Give a percentile, 1 to 99; the largest sample where there are too few for it."""
    if len(samples) < 2:
        return samples[0]
    return quantiles(samples, n=100, method="inclusive")[percent - 1]
