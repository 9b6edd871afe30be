"""Exact tests, intervals, false discovery and agreement, for counts as small as a pipeline's. Pure."""

from collections import Counter
from collections.abc import Sequence
from math import exp, fsum, lgamma, sqrt
from statistics import NormalDist
from typing import Final

import msgspec


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of a confidence interval."""

    low: float
    """0 to 1."""
    high: float
    """0 to 1."""


class ConfusionCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often one pair of scores was given to the same thing."""

    human: float
    """The person's score."""
    gate: float
    """The gate's score."""
    count: int
    """At least 1."""


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far a person and the gate score alike."""

    n: int
    """Things that both scored."""
    kappa: float | None
    """Quadratically weighted kappa, at most 1; 0 is chance. None where nothing could have disagreed."""
    mean_difference: float
    """Human minus gate: above 0, the gate is too strict."""
    confusion: tuple[ConfusionCount, ...]
    """The pairs that occurred, by human score, then by the gate's."""


def hypergeometric_probability(marked_drawn: int, drawn: int, marked: int, total: int) -> float:
    """Give the chance that exactly `marked_drawn` of `drawn` are marked, where `marked` of `total` are.

    Drawing is without replacement; counts that cannot occur have chance 0. Raises ValueError unless `drawn` and
    `marked` are 0 to `total`.
    """
    _require_part(drawn, total, "drawn", "total")
    _require_part(marked, total, "marked", "total")
    if not max(0, drawn + marked - total) <= marked_drawn <= min(drawn, marked):
        return 0.0
    return exp(
        _log_choose(marked, marked_drawn)
        + _log_choose(total - marked, drawn - marked_drawn)
        - _log_choose(total, drawn)
    )


def fisher_exact(recent_failures: int, recent_runs: int, failures: int, runs: int) -> float:
    """Give the one-sided p-value of Fisher's exact test that the recent runs fail more often than the others.

    It is the chance of `recent_failures` or more among `recent_runs`, where all orders of the `failures` in all
    `runs` (recent ones included) are equally likely. So it needs no true failure rate, and is never too small.
    Source: R. A. Fisher, The Design of Experiments (1935), ch. 2. Raises ValueError for counts that do not fit.
    """
    _require_part(recent_failures, recent_runs, "recent_failures", "recent_runs")
    _require_part(recent_failures, failures, "recent_failures", "failures")
    likeliest = (recent_runs + 1) * (failures + 1) // (runs + 2)
    if recent_failures > likeliest:
        return min(1.0, _tail(recent_failures, recent_runs, failures, runs))
    # What is left over of 1: fewer of them marked is as many more of the others.
    others = runs - recent_runs
    return 1.0 - min(1.0, _tail(failures - recent_failures + 1, others, failures, runs))


def _tail(marked_drawn: int, drawn: int, marked: int, total: int) -> float:
    """Give the chance that so many or more are marked, where each count is less likely than the one before."""
    last = min(drawn, marked)
    if marked_drawn > last:
        return 0.0
    chance = hypergeometric_probability(marked_drawn, drawn, marked, total)
    chances = [chance]
    # What follows is less than what rounding loses.
    for count in range(marked_drawn, last):
        chance *= (drawn - count) * (marked - count) / ((count + 1) * (total - drawn - marked + count + 1))
        if chance <= chances[0] * _NEGLIGIBLE:
            break
        chances.append(chance)
    return fsum(chances)


_NEGLIGIBLE: Final = 1e-20
"""Of the largest of the chances that are added."""


def scan_p_value(recent_failures: int, recent_runs: int, failures: int, runs: int, *, looks: int) -> float:
    """Give the chance that any of `looks` successive windows looks as bad as this one, though nothing changed.

    The window of the newest `recent_runs` of all `runs` moves on by one run a look, so successive windows overlap and
    `looks` tests are far fewer independent ones. With b(k) the hypergeometric chance of k failures in the window, w
    its length and r the failure rate of all runs, a window first reaches k at a rate of (k/w - r) b(k) per look; the
    windows of `looks` runs cover w more. An outcome counts half (mid-p), or the steps between counts would waste about
    a third of the level. Never below the p-value of a single look. It is an approximation; simulated from r = 3 % to
    40 % it errs on the safe side.

    Sources: S. Wallenstein and N. Neff, Statistics in Medicine 6 (1987) 197, for the scan statistic; H. O. Lancaster,
    JASA 56 (1961) 223, and S. Lydersen, M. W. Fagerland and P. Laake, Statistics in Medicine 28 (2009) 1159, for mid-p.
    Raises ValueError for counts that do not fit.
    """
    single_look = fisher_exact(recent_failures, recent_runs, failures, runs)
    reached, exceeded = (
        (looks + recent_runs)
        * max(0.0, count / recent_runs - failures / runs)
        * hypergeometric_probability(count, recent_runs, failures, runs)
        for count in (recent_failures, recent_failures + 1)
    )
    return min(1.0, max(single_look, (reached + exceeded) / 2))


def wilson_interval(failures: int, runs: int, *, confidence: float = 0.95) -> Interval:
    """Give Wilson's score interval of a failure rate: the rates from which the counts are not too far off.

    It covers the true rate about as often as `confidence` says, with few runs and at 0 or all failures too.
    Sources: E. B. Wilson, JASA 22 (1927) 209; L. D. Brown, T. T. Cai and A. DasGupta, Statistical Science 16 (2001)
    101. Raises ValueError for counts that do not fit, no runs, or a confidence that is not between 0 and 1.
    """
    _require_part(failures, runs, "failures", "runs")
    if runs == 0:
        raise ValueError("runs=0: a rate needs at least one run")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: give a share between 0 and 1, such as 0.95")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = failures + z**2 / 2
    reach = z * sqrt(failures * (runs - failures) / runs + z**2 / 4)
    return Interval(
        low=(middle - reach) / (runs + z**2) if failures else 0.0,
        high=(middle + reach) / (runs + z**2) if failures < runs else 1.0,
    )


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Give each test's q-value: the least share of false findings at which it is among the findings. Keeps the order.

    Holds for independent tests, and for positively dependent ones (principles that fail together).
    Sources: Y. Benjamini and Y. Hochberg, JRSS B 57 (1995) 289; Y. Benjamini and D. Yekutieli, Annals of Statistics 29
    (2001) 1165. Raises ValueError for a p-value outside 0 to 1.
    """
    if wrong := [value for value in p_values if not 0 <= value <= 1]:
        raise ValueError(f"p-value {wrong[0]}: give probabilities, 0 to 1")
    q_values = [1.0] * len(p_values)
    smallest = 1.0
    ascending = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, position in reversed(list(enumerate(ascending, start=1))):
        smallest = min(smallest, p_values[position] * (len(p_values) / rank))
        q_values[position] = smallest
    return q_values


def agreement(scores: Sequence[tuple[float, float]]) -> Agreement:
    """Compare a person's scores with the gate's, given as (human, gate) pairs on one scale.

    Quadratically weighted kappa is 1 minus the mean squared difference of the pairs over that of all human scores
    with all gate scores, which is what chance would give; so it needs no list of categories and takes 2.5 as well.
    Sources: J. Cohen, Psychological Bulletin 70 (1968) 213; J. L. Fleiss and J. Cohen, Educational and Psychological
    Measurement 33 (1973) 613. Raises ValueError where there is no pair.
    """
    if not scores:
        raise ValueError("no pair of scores: compare at least one thing that both scored")
    n = len(scores)
    human_mean, gate_mean = (fsum(values) / n for values in zip(*scores, strict=True))
    observed = fsum((human - gate) ** 2 for human, gate in scores) / n
    spread = fsum((human - human_mean) ** 2 + (gate - gate_mean) ** 2 for human, gate in scores) / n
    by_chance = spread + (human_mean - gate_mean) ** 2
    can_differ = len({score for pair in scores for score in pair}) > 1
    counts = sorted(Counter(scores).items())
    return Agreement(
        n=n,
        kappa=1 - observed / by_chance if can_differ else None,
        mean_difference=human_mean - gate_mean,
        confusion=tuple(ConfusionCount(human=human, gate=gate, count=count) for (human, gate), count in counts),
    )


def _log_choose(total: int, chosen: int) -> float:
    return lgamma(total + 1) - lgamma(chosen + 1) - lgamma(total - chosen + 1)


def _require_part(part: int, whole: int, part_name: str, whole_name: str) -> None:
    if not 0 <= part <= whole:
        raise ValueError(f"{part_name}={part} of {whole_name}={whole}: give a count from 0 to {whole_name}")
