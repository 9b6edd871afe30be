"""The life of a flag: told once, silent while it should be, back when new runs say so."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ire_otel.calibration.lifecycle import FlagState, advance, resolve, snooze
from ire_otel.calibration.policies import Flag
from ire_otel.calibration.statistics import wilson_interval

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def flag(failures: int = 16, *, since: datetime = NOW - 4 * DAY) -> Flag:
    """A flag that rests on so many failures in 40 runs."""
    interval = wilson_interval(failures, 40)
    return Flag(
        policy="rate",
        principle_id="META-12",
        intent="validating",
        report_type="market_research",
        runs=40,
        failures=failures,
        rate=failures / 40,
        low=interval.low,
        high=interval.high,
        baseline_runs=300,
        baseline_rate=0.1,
        p_value=1e-6,
        q_value=0.004,
        since=since,
        message="META-12 fails more often",
    )


OPEN = FlagState(status="open", told=flag(), told_at=NOW)


def test_nothing_comes_of_nothing() -> None:
    """No flag before, none today: no state, no word."""
    step = advance(None, None, NOW)
    assert (step.state, step.tell) == (None, False)


def test_a_new_flag_is_opened_and_told() -> None:
    """With the figures that were told."""
    step = advance(None, flag(), NOW)
    assert (step.state, step.tell) == (OPEN, True)


@pytest.mark.parametrize("today", [None, flag(10), flag(16), flag(20)])
def test_an_open_flag_is_not_told_again_for_more_of_the_same(today: Flag | None) -> None:
    """Neither when it stays, nor when it wavers, nor when it recovers: it stays open until somebody closes it."""
    step = advance(OPEN, today, NOW + DAY)
    assert (step.state, step.tell) == (OPEN, False)


def test_an_open_flag_is_told_again_when_it_became_clearly_worse() -> None:
    """Clearly: the low end of today's interval is above what was told; then that is what was told."""
    worse = flag(26)
    assert worse.low > OPEN.told.rate
    step = advance(OPEN, worse, NOW + DAY)
    assert step.tell
    assert step.state == FlagState(status="open", told=worse, told_at=NOW + DAY)
    assert not advance(step.state, flag(28), NOW + 2 * DAY).tell


def test_a_snoozed_flag_is_silent_until_its_date() -> None:
    """However bad it becomes; afterwards it is told if it still stands."""
    snoozed = snooze(OPEN, NOW + 7 * DAY)
    early = advance(snoozed, flag(40), NOW + 6 * DAY)
    assert (early.state, early.tell) == (snoozed, False)
    gone = advance(snoozed, None, NOW + 8 * DAY)
    assert (gone.state, gone.tell) == (snoozed, False)
    back = advance(snoozed, flag(17), NOW + 7 * DAY)
    assert (back.state, back.tell) == (FlagState(status="open", told=flag(17), told_at=NOW + 7 * DAY), True)


def test_a_resolved_flag_is_reopened_only_by_runs_after_its_resolution() -> None:
    """Runs from before may still stand in today's figures: then it stays resolved."""
    resolved = resolve(OPEN, NOW)
    still = advance(resolved, flag(40, since=NOW - DAY), NOW + DAY)
    assert (still.state, still.tell) == (resolved, False)
    again = flag(since=NOW + DAY)
    step = advance(resolved, again, NOW + 6 * DAY)
    assert step.tell
    assert step.state == FlagState(status="reopened", told=again, told_at=NOW + 6 * DAY, resolved_at=NOW)


def test_a_reopened_flag_can_be_snoozed_and_comes_back_as_reopened() -> None:
    """That it was resolved once is not forgotten; resolving it again sets the newer time."""
    reopened = FlagState(status="reopened", told=flag(), told_at=NOW, resolved_at=NOW - DAY)
    snoozed = snooze(reopened, NOW + DAY)
    step = advance(snoozed, flag(), NOW + DAY)
    assert step.state is not None
    assert (step.state.status, step.tell) == ("reopened", True)
    assert resolve(step.state, NOW + 2 * DAY).resolved_at == NOW + 2 * DAY


def test_what_cannot_be_is_refused() -> None:
    """A resolved flag needs no snooze; a snooze needs an end; a resolution needs a time."""
    with pytest.raises(ValueError, match="META-12 is resolved"):
        snooze(resolve(OPEN, NOW), NOW + DAY)
    with pytest.raises(ValueError, match="only a snooze ends"):
        FlagState(status="snoozed", told=flag(), told_at=NOW)
    with pytest.raises(ValueError, match="give resolved_at"):
        FlagState(status="resolved", told=flag(), told_at=NOW)


@given(st.lists(st.none() | st.integers(0, 40).map(flag), max_size=200))
def test_a_flag_that_nobody_touches_is_told_a_handful_of_times_at_most(days: list[Flag | None]) -> None:
    """Whatever the runs bring: each telling raises the bar."""
    state: FlagState | None = None
    told = 0
    for day, today in enumerate(days):
        step = advance(state, today, NOW + day * DAY)
        state, told = step.state, told + step.tell
    assert told <= 7
