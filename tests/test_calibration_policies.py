"""Policies: what flags a principle, what does not, and how often either is wrong."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ire_otel.calibration.policies import RATE_MINIMUM, History, ScoredRun, count_flags, rate_flags
from ire_otel.calibration.statistics import wilson_interval
from tests.calibration_histories import PRINCIPLES, history, looks_that_flag, moment, outcomes, seeded

EARLIER = [run % 10 == 0 for run in range(300)]
"""30 failures, evenly spread."""
WORSE = [run % 5 < 2 for run in range(40)]
"""16 failures in 40 runs."""
NOW = moment(339)


def test_count_flags_three_failures_of_a_week_in_the_words_of_the_rule() -> None:
    """Failures count over all intents; the third newest is what the flag rests on."""
    validating = history([True, False, False, True, True])
    learning = history([False, False, True, False, False], intent="learning")
    (flag,) = count_flags([validating, learning, history([True, True], "META-1")], moment(4))
    assert flag.message == (
        "Principle META-12 has scored below threshold 4 times in the last 7 days. Consider reviewing calibration."
    )
    assert (flag.policy, flag.principle_id, flag.intent, flag.report_type) == ("count", "META-12", None, None)
    assert (flag.failures, flag.runs, flag.rate) == (4, 10, 0.4)
    assert flag.low < 0.4 < flag.high
    assert (flag.p_value, flag.q_value, flag.baseline_runs, flag.baseline_rate) == (None, None, None, None)
    assert flag.since == moment(2)


def test_count_forgets_after_a_week_and_does_not_know_the_future() -> None:
    """Failures older than seven days, or after the moment asked for, do not count."""
    failing = history([True, True, True, False])
    assert count_flags([failing], moment(2))
    assert count_flags([failing], moment(0) + timedelta(days=7))
    assert not count_flags([failing], moment(0) + timedelta(days=7, seconds=1))
    assert not count_flags([failing], moment(1))


def test_rate_flags_a_principle_that_fails_more_often_than_it_did() -> None:
    """The flag holds all figures, and its sentence states them."""
    steady = [history(EARLIER + EARLIER[:40], f"META-{n}") for n in range(1, 12)]
    (flag,) = rate_flags([*steady, history(EARLIER + WORSE)], NOW)
    assert (flag.policy, flag.principle_id, flag.intent) == ("rate", "META-12", "validating")
    assert (flag.runs, flag.failures, flag.rate) == (40, 16, 0.4)
    assert (flag.baseline_runs, flag.baseline_rate) == (300, 0.1)
    assert flag.p_value == pytest.approx(6.120e-6, rel=1e-3)
    assert flag.q_value == pytest.approx(0.003278, rel=1e-3)
    assert flag.since == moment(300)
    assert flag.message == (
        "Principle META-12 (validating, market_research) scored below threshold in 16 of its last 40 runs (40 %; 95 % "
        "confidence interval 26 % to 55 %), against 10 % of the 300 runs before: p = 6e-06, and q = 0.003 once "
        "adjusted for 12 principles and a look after every run."
    )


@pytest.mark.parametrize(
    "failed",
    [
        pytest.param(WORSE * 9, id="always bad"),
        pytest.param([*WORSE * 7, *[False] * 60], id="better than before"),
        pytest.param([False] * (RATE_MINIMUM - 21) + [True] * 20, id="too few runs"),
        pytest.param([False] * 340, id="never fails"),
        pytest.param([True] * 340, id="always fails"),
        pytest.param([], id="no run"),
    ],
)
def test_rate_is_silent_where_nothing_got_worse(failed: list[bool]) -> None:
    """A principle is compared with nothing but its own past, once it has one."""
    assert not rate_flags([history(failed)], NOW)


def test_rate_speaks_from_the_least_number_of_runs_on() -> None:
    """A third of few runs is recent."""
    (flag,) = rate_flags([history([False] * (RATE_MINIMUM - 20) + [True] * 20)], NOW)
    assert (flag.runs, flag.failures, flag.baseline_runs, flag.baseline_rate) == (20, 20, 40, 0)


def test_intents_and_report_types_are_judged_apart() -> None:
    """A change of the mix of intents is no change of a principle; a failing intent is named."""
    easy, hard = history([False] * 300), history(WORSE * 9, intent="learning")
    assert not rate_flags([easy, hard], NOW)
    (flag,) = rate_flags([easy, hard, history(EARLIER + WORSE, intent=None)], NOW)
    assert flag.intent is None
    assert flag.message.startswith("Principle META-12 (market_research) scored")


@given(st.permutations(range(100)))
def test_the_order_of_runs_and_what_came_later_do_not_matter(order: list[int]) -> None:
    """Runs may finish in any order; a question about a moment gets the answer of that moment."""
    failing = history([False] * 60 + [True] * 40)
    shuffled = History(
        principle_id="META-12",
        intent="validating",
        report_type="market_research",
        runs=[failing.runs[place] for place in order],
    )
    later = history([False] * 60 + [True] * 40 + [False] * 30)
    assert rate_flags([shuffled], moment(99)) == rate_flags([failing], moment(99)) == rate_flags([later], moment(99))


def test_more_looks_and_more_principles_make_a_flag_harder() -> None:
    """The looks are those of all groups together, unless the caller knows better."""
    changed = history(EARLIER + WORSE)
    (alone,) = rate_flags([changed], NOW)
    (busy,) = rate_flags([changed], NOW, looks=1_000)
    others = [history(EARLIER + EARLIER[:40], intent=f"intent {n}") for n in range(9)]
    (among_intents,) = rate_flags([changed, *others], NOW)
    (among_principles,) = rate_flags([changed, *(history(EARLIER, f"META-{n}") for n in range(2))], NOW)
    assert alone.q_value is not None
    assert busy.q_value == pytest.approx(alone.q_value * 1040 / 340)
    assert among_intents.q_value == pytest.approx(alone.q_value * 3040 / 340)
    assert among_principles.q_value == pytest.approx(alone.q_value * 3)
    assert alone.p_value == busy.p_value == among_intents.p_value == among_principles.p_value


def test_the_simulation_answers_as_the_policy() -> None:
    """Look by look, on histories in which principles begin to fail."""
    random = seeded(4)
    principles = [outcomes(random, (120, 0.1), (60, 0.1 if n % 4 else 0.6)) for n in range(PRINCIPLES)]
    histories = [history(failed, f"META-{n}") for n, failed in enumerate(principles)]
    flagging = [runs for runs in range(181) if rate_flags(histories, moment(runs - 1))]
    assert flagging
    assert flagging == list(looks_that_flag(principles))


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2, 0.3])
def test_few_unchanged_months_raise_a_rate_flag_though_nearly_all_raise_a_count_flag(rate: float) -> None:
    """Thirty days from the first run on, looked at after every run; at most 5 % is beyond doubt."""
    random = seeded(7)
    months, by_rate, by_count = 1_500, 0, 0
    for month in range(months):
        principles = [outcomes(random, (300, rate)) for _ in range(PRINCIPLES)]
        by_rate += any(True for _ in looks_that_flag(principles))
        if month < 50:
            histories = [history(failed, f"META-{n}") for n, failed in enumerate(principles)]
            by_count += bool(count_flags(histories, moment(299)))
    assert wilson_interval(by_rate, months).high <= 0.05
    assert by_count >= 49


@pytest.mark.slow
def test_few_unchanged_months_of_an_established_pipeline_raise_a_rate_flag() -> None:
    """The same after 300 runs of baseline, when all 300 runs of the month are looked at."""
    random = seeded(11)
    months = 2_000
    flagged = sum(
        any(True for _ in looks_that_flag([outcomes(random, (600, 0.1)) for _ in range(PRINCIPLES)], after=300))
        for _ in range(months)
    )
    assert wilson_interval(flagged, months).high <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("baseline", "share"), [(1_200, 0.8), (300, 0.7), (100, 0.49)])
def test_a_drop_is_found_within_forty_runs(baseline: int, share: float) -> None:
    """One of 21 principles goes from 10 % to 40 % failures, after 1,200 runs: found in 80 %; sooner, in fewer.

    Less is not to be had: a CUSUM that knew both rates beforehand, held to the same false alarms, would find 83 %.
    """
    random = seeded(13)
    drops = 16_000
    found = sum(
        any(True for _ in looks_that_flag([outcomes(random, (baseline, 0.1), (40, 0.4))], after=baseline))
        for _ in range(drops)
    )
    assert wilson_interval(found, drops).low >= share


def test_a_run_is_scored_once_it_is_known_when() -> None:
    """The least a caller must give."""
    run = ScoredRun(started_at=NOW, failed=True)
    assert count_flags([History(principle_id="MR-1", intent=None, report_type=None, runs=[run] * 3)], NOW)
