"""Statistics: known values from the literature, and the laws that define them."""

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from math import comb, sqrt
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ire_otel.calibration.statistics import (
    ConfusionCount,
    agreement,
    benjamini_hochberg,
    fisher_exact,
    hypergeometric_probability,
    scan_p_value,
    wilson_interval,
)


@st.composite
def tables(draw: st.DrawFn, most: int = 400) -> tuple[int, int, int, int]:
    """Failures and runs of a window, failures and runs in all; the window is not everything."""
    runs = draw(st.integers(2, most))
    recent_runs = draw(st.integers(1, runs - 1))
    failures = draw(st.integers(0, runs))
    least, highest = max(0, recent_runs + failures - runs), min(recent_runs, failures)
    return draw(st.integers(least, highest)), recent_runs, failures, runs


@given(tables())
def test_hypergeometric_probabilities_are_ratios_of_binomial_coefficients(table: tuple[int, int, int, int]) -> None:
    """The definition, in exact arithmetic; counts that cannot occur have chance 0, and all chances make 1."""
    drawn_marked, drawn, marked, total = table
    ways = comb(marked, drawn_marked) * comb(total - marked, drawn - drawn_marked)
    exact = float(Fraction(ways, comb(total, drawn)))
    assert hypergeometric_probability(drawn_marked, drawn, marked, total) == pytest.approx(exact, rel=1e-9)
    chances = [hypergeometric_probability(count, drawn, marked, total) for count in range(-1, drawn + 2)]
    assert sum(chances) == pytest.approx(1)


def test_fisher_exact_judges_the_lady_tasting_tea() -> None:
    """Four of eight cups had the milk first: all found by chance 1 in 70, three or more 17 in 70."""
    assert fisher_exact(4, 4, 4, 8) == pytest.approx(1 / 70)
    assert fisher_exact(3, 4, 4, 8) == pytest.approx(17 / 70)


@given(tables(most=9))
def test_fisher_exact_counts_orders(table: tuple[int, int, int, int]) -> None:
    """Of all ways to lay the failures among the runs, the share with so many at the end."""
    recent_failures, recent_runs, failures, runs = table
    orders = list(combinations(range(runs), failures))
    as_bad = [order for order in orders if sum(place >= runs - recent_runs for place in order) >= recent_failures]
    assert fisher_exact(*table) == pytest.approx(len(as_bad) / len(orders))


def chance_of_a_scan(failures: int, window: int, rate: float, looks: int) -> float:
    """Work out the chance that one of `looks` moving windows, after a first, holds `failures`, over all its states."""
    states = {
        state: rate ** state.bit_count() * (1 - rate) ** (window - state.bit_count()) for state in range(1 << window)
    }
    states = {state: chance for state, chance in states.items() if state.bit_count() < failures}
    for _ in range(looks):
        moved: dict[int, float] = {}
        for state, chance in states.items():
            for failed, share in ((1, rate), (0, 1 - rate)):
                after = (state << 1 | failed) & ((1 << window) - 1)
                if after.bit_count() < failures:
                    moved[after] = moved.get(after, 0.0) + chance * share
        states = moved
    return 1 - sum(states.values())


@pytest.mark.parametrize(("failures", "rate"), [(6, 0.1), (7, 0.1), (5, 0.05), (8, 0.2)])
def test_the_scan_p_value_is_near_the_exact_chance(failures: int, rate: float) -> None:
    """With a baseline so long that the rate is known: mid-p of the exact distribution, at most 40 % above it."""
    window, looks, runs = 9, 150, 1_000_000
    reached, exceeded = (chance_of_a_scan(count, window, rate, looks) for count in (failures, failures + 1))
    adjusted = scan_p_value(failures, window, round(runs * rate), runs, looks=looks)
    assert adjusted < 0.1
    assert 1 <= adjusted / ((reached + exceeded) / 2) < 1.4


@given(tables(), st.integers(1, 1000))
def test_repeated_looks_cost(table: tuple[int, int, int, int], looks: int) -> None:
    """An adjusted p-value is at least that of a single look, and grows with the looks."""
    adjusted = scan_p_value(*table, looks=looks)
    assert fisher_exact(*table) <= adjusted <= scan_p_value(*table, looks=looks + 1) <= 1


@given(tables(), st.integers(1, 1000))
def test_more_recent_failures_never_clear_a_principle(table: tuple[int, int, int, int], looks: int) -> None:
    """Once suspicious, a window with one failure more is not less so."""
    recent_failures, recent_runs, failures, runs = table
    adjusted = scan_p_value(recent_failures, recent_runs, failures, runs, looks=looks)
    if adjusted <= 0.05 and recent_failures < recent_runs and failures < runs:
        assert scan_p_value(recent_failures + 1, recent_runs, failures + 1, runs, looks=looks) <= adjusted


@pytest.mark.parametrize(
    ("failures", "runs", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_the_published_ones(failures: int, runs: int, low: float, high: float) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3."""
    interval = wilson_interval(failures, runs)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 2000).flatmap(lambda runs: st.tuples(st.integers(0, runs), st.just(runs))), st.floats(0.5, 0.999))
def test_the_ends_of_an_interval_are_just_not_refuted(counts: tuple[int, int], confidence: float) -> None:
    """The score test of either end is exactly at its limit; successes mirror failures."""
    failures, runs = counts
    interval = wilson_interval(failures, runs, confidence=confidence)
    assert 0 <= interval.low <= failures / runs <= interval.high <= 1
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    for end in {interval.low, interval.high} - {0.0, 1.0}:
        assert abs(failures / runs - end) == pytest.approx(z * sqrt(end * (1 - end) / runs), rel=1e-6)
    mirrored = wilson_interval(runs - failures, runs, confidence=confidence)
    assert mirrored.low == pytest.approx(1 - interval.high, abs=1e-9)


def test_false_discovery_control_is_the_published_one() -> None:
    """The 15 comparisons of Benjamini and Hochberg 1995, section 3.2: four stand at 5 %."""
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p_values += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    q_values = benjamini_hochberg(p_values)
    assert q_values[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    assert sum(q_value <= 0.05 for q_value in q_values) == 4


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.001, 0.999))
def test_q_values_decide_as_the_step_up_procedure(p_values: list[float], level: float) -> None:
    """The largest rank whose p-value is below its share of the level, and everything smaller, stands."""
    ascending = sorted(p_values)
    stand = [rank for rank, p_value in enumerate(ascending, 1) if p_value * (len(p_values) / rank) <= level]
    limit = ascending[stand[-1] - 1] if stand else -1.0
    q_values = benjamini_hochberg(p_values)
    assert [q_value <= level for q_value in q_values] == [p_value <= limit for p_value in p_values]
    assert all(p_value <= q_value <= 1 for p_value, q_value in zip(p_values, q_values, strict=True))


def test_agreement_of_four_reports() -> None:
    """By hand: mean squared difference 0.5, by chance 2.0."""
    found = agreement([(1, 2), (2, 2), (3, 3), (0, 1)])
    assert found.n == 4
    assert found.kappa == pytest.approx(0.75)
    assert found.mean_difference == pytest.approx(-0.5)
    assert found.confusion[0] == ConfusionCount(human=0, gate=1, count=1)
    assert [(row.human, row.gate) for row in found.confusion] == [(0, 1), (1, 2), (2, 2), (3, 3)]


def test_agreement_has_its_extremes() -> None:
    """All alike 1, all opposite -1, no relation 0; where both gave one and the same score always, none."""
    assert agreement([(0, 0), (1.5, 1.5), (3, 3)]).kappa == pytest.approx(1)
    assert agreement([(0, 3), (3, 0)]).kappa == pytest.approx(-1)
    assert agreement([(0, 0), (0, 3), (3, 0), (3, 3)]).kappa == pytest.approx(0)
    assert agreement([(0.1, 0.1)] * 3).kappa is None
    assert agreement([(2, 1)] * 3).kappa == pytest.approx(0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_kappa_is_that_of_the_confusion_matrix(scores: list[tuple[int, int]]) -> None:
    """Cohen's definition: 1 minus observed over expected disagreement, weighted by the squared distance."""
    found = agreement(scores)
    n = len(scores)
    human = [sum(pair[0] == category for pair in scores) for category in range(4)]
    gate = [sum(pair[1] == category for pair in scores) for category in range(4)]
    observed = sum(row.count * (row.human - row.gate) ** 2 for row in found.confusion) / n
    expected = sum(human[i] * gate[j] * (i - j) ** 2 for i in range(4) for j in range(4)) / n**2
    assert sum(row.count for row in found.confusion) == n
    assert found.kappa == (pytest.approx(1 - observed / expected) if expected else None)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: fisher_exact(5, 4, 6, 10), "recent_failures=5 of recent_runs=4"),
        (lambda: fisher_exact(3, 4, 2, 10), "recent_failures=3 of failures=2"),
        (lambda: hypergeometric_probability(1, 11, 2, 10), "drawn=11 of total=10"),
        (lambda: wilson_interval(0, 0), "runs=0"),
        (lambda: wilson_interval(1, 2, confidence=95), "confidence=95"),
        (lambda: benjamini_hochberg([0.5, 1.5]), "p-value 1.5"),
        (lambda: agreement([]), "no pair"),
    ],
)
def test_wrong_counts_are_named(wrong: Callable[[], object], named: str) -> None:
    """Each error says which value does not fit."""
    with pytest.raises(ValueError, match=named):
        wrong()
