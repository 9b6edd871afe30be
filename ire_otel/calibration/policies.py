"""The policies that flag a principle: `count`, the plain rule, and `rate`, a test that bears being repeated. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final, Literal

import msgspec

from ire_otel.calibration.statistics import benjamini_hochberg, fisher_exact, scan_p_value, wilson_interval

COUNT_FAILURES: Final = 3
"""Failures that `count` takes to flag a principle."""
COUNT_PERIOD: Final = timedelta(days=7)
"""Time in which `count` counts them."""
RATE_WINDOW: Final = 40
"""Most runs that are recent to `rate`; with fewer than three times as many in all, a third of them is recent."""
RATE_MINIMUM: Final = 60
"""Runs, recent ones included, below which `rate` says nothing."""
RATE_HISTORY: Final = 1_500
"""Newest runs of a principle that `rate` looks at; more would not find more."""
RATE_LEVEL: Final = 0.05
"""Share of unchanged periods in which `rate` may flag anything."""
RATE_PERIOD: Final = timedelta(days=30)
"""Time over which RATE_LEVEL holds, however often one looks."""
RATE_LOOKS: Final = 300
"""Least number of looks that a period is taken to have, so that a beginning or a lull does not loosen the test."""

Group = tuple[str | None, str | None]
"""Intent and report type."""


class ScoredRun(msgspec.Struct, frozen=True, kw_only=True):
    """One complete run, as far as one principle goes."""

    started_at: datetime
    """Aware."""
    failed: bool
    """The principle scored below 2."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What one principle scored in the runs of one intent and report type."""

    principle_id: str
    intent: str | None
    report_type: str | None
    runs: Sequence[ScoredRun]
    """In any order."""


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """One principle that a policy says to look at."""

    policy: Literal["count", "rate"]
    principle_id: str
    intent: str | None
    """None where the runs gave none, and always with `count`, which counts over all intents."""
    report_type: str | None
    """As `intent`."""
    runs: int
    """The recent runs: those of COUNT_PERIOD, or the newest, at most RATE_WINDOW."""
    failures: int
    """Recent runs that failed."""
    rate: float
    """Their share, 0 to 1."""
    low: float
    """Low end of the 95 % confidence interval of `rate`, 0 to 1."""
    high: float
    """High end."""
    baseline_runs: int | None = None
    """The runs before the recent ones; None with `count`, which has no baseline, nor a test."""
    baseline_rate: float | None = None
    """The share of those that failed, 0 to 1."""
    p_value: float | None = None
    """Of a single look: Fisher's exact test, one-sided."""
    q_value: float | None = None
    """Adjusted for the repeated looks and for the number of principles; at most RATE_LEVEL."""
    since: datetime
    """The runs from here on would have done alone: the third newest failure, or the first recent run."""
    message: str
    """All of this in one sentence."""


def count_flags(histories: Iterable[History], now: datetime) -> list[Flag]:
    """Flag every principle that failed COUNT_FAILURES times or more in the COUNT_PERIOD before `now`.

    It counts over all histories of a principle together. Easily understood and easily raised: of 21 principles that
    fail in every tenth of 10 runs a day, it flags nearly all, always. Most failures first.
    """
    recent: defaultdict[str, list[ScoredRun]] = defaultdict(list)
    for history in histories:
        recent[history.principle_id] += [run for run in history.runs if now - COUNT_PERIOD <= run.started_at <= now]
    flags = (_count_flag(principle_id, runs) for principle_id, runs in recent.items())
    return sorted((flag for flag in flags if flag), key=lambda flag: (-flag.failures, flag.principle_id))


def rate_flags(histories: Iterable[History], now: datetime, *, looks: int | None = None) -> list[Flag]:
    """Flag every principle that fails more often in its newest runs than it did before, as of `now`.

    Made to be called after every run: of the periods of 30 days in which no failure rate changes, at most 5 % raise
    any flag at all. The failures of the newest runs are compared with the principle's own earlier runs of the same
    intent and report type (`fisher_exact`); the p-value is adjusted for the looks of one period (`scan_p_value`: each
    look is a window of a scan statistic), then over the principles of the group (`benjamini_hochberg`).
    A window of fixed length is close to the best way to find a change within that many runs: B. K. Guépié,
    L. Fillatre and I. Nikiforov, Sequential Analysis 31 (2012) 528.

    `looks` is the number of runs, of all intents and report types, that started in the RATE_PERIOD before `now`; None
    takes it from the histories. Whoever gives the histories of one group only gives it. Most certain first.
    """
    groups: defaultdict[Group, list[tuple[History, list[ScoredRun]]]] = defaultdict(list)
    for history in histories:
        groups[history.intent, history.report_type].append((history, _until(now, history.runs)))
    if looks is None:
        looks = sum(max(_runs_since(now - RATE_PERIOD, runs) for _, runs in group) for group in groups.values())
    looks = max(looks, RATE_LOOKS)
    flags = [flag for group in groups.values() for flag in _group_flags(group, looks)]
    return sorted(flags, key=lambda flag: (flag.q_value, flag.p_value, flag.principle_id))


class _Comparison(msgspec.Struct, frozen=True):
    """The newest runs of one history against the ones before."""

    history: History
    recent: list[ScoredRun]
    failures: int
    baseline_runs: int
    baseline_failures: int

    def counts(self) -> tuple[int, int, int, int]:
        """Give what the tests take: failures and runs of the window, failures and runs in all."""
        recent = len(self.recent)
        return self.failures, recent, self.failures + self.baseline_failures, recent + self.baseline_runs


def _until(now: datetime, runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    ordered = sorted((run for run in runs if run.started_at <= now), key=attrgetter("started_at"))
    return ordered[-RATE_HISTORY:]


def _runs_since(moment: datetime, runs: Sequence[ScoredRun]) -> int:
    return sum(run.started_at > moment for run in runs)


def _group_flags(group: list[tuple[History, list[ScoredRun]]], looks: int) -> list[Flag]:
    tested = [_compare(history, runs) for history, runs in group if len(runs) >= RATE_MINIMUM]
    q_values = benjamini_hochberg([scan_p_value(*comparison.counts(), looks=looks) for comparison in tested])
    return [
        _rate_flag(comparison, q_value, len(tested))
        for comparison, q_value in zip(tested, q_values, strict=True)
        if q_value <= RATE_LEVEL
    ]


def _compare(history: History, runs: list[ScoredRun]) -> _Comparison:
    window = min(RATE_WINDOW, len(runs) // 3)
    recent = runs[-window:]
    failures = sum(run.failed for run in recent)
    baseline_failures = sum(run.failed for run in runs) - failures
    return _Comparison(history, recent, failures, len(runs) - window, baseline_failures)


def _rate_flag(comparison: _Comparison, q_value: float, principles: int) -> Flag:
    history, runs, failures = comparison.history, len(comparison.recent), comparison.failures
    rate, baseline_rate = failures / runs, comparison.baseline_failures / comparison.baseline_runs
    interval = wilson_interval(failures, runs)
    p_value = fisher_exact(*comparison.counts())
    about = ", ".join(part for part in (history.intent, history.report_type) if part)
    return Flag(
        policy="rate",
        principle_id=history.principle_id,
        intent=history.intent,
        report_type=history.report_type,
        runs=runs,
        failures=failures,
        rate=rate,
        low=interval.low,
        high=interval.high,
        baseline_runs=comparison.baseline_runs,
        baseline_rate=baseline_rate,
        p_value=p_value,
        q_value=q_value,
        since=comparison.recent[0].started_at,
        message=(
            f"Principle {history.principle_id}{about and f' ({about})'} scored below threshold in {failures} of its "
            f"last {runs} runs ({_percent(rate)}; 95 % confidence interval {_percent(interval.low)} to "
            f"{_percent(interval.high)}), against {_percent(baseline_rate)} of the {comparison.baseline_runs} runs "
            f"before: p = {p_value:.1g}, and q = {q_value:.1g} once adjusted for {principles} "
            f"principle{'s' * (principles != 1)} and a look after every run."
        ),
    )


def _count_flag(principle_id: str, runs: list[ScoredRun]) -> Flag | None:
    moments = sorted(run.started_at for run in runs if run.failed)
    if len(moments) < COUNT_FAILURES:
        return None
    interval = wilson_interval(len(moments), len(runs))
    return Flag(
        policy="count",
        principle_id=principle_id,
        intent=None,
        report_type=None,
        runs=len(runs),
        failures=len(moments),
        rate=len(moments) / len(runs),
        low=interval.low,
        high=interval.high,
        since=moments[-COUNT_FAILURES],
        message=(
            f"Principle {principle_id} has scored below threshold {len(moments)} times in the last "
            f"{COUNT_PERIOD.days} days. Consider reviewing calibration."
        ),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
