"""Do people and the gate score alike? Per principle and over all, on both databases."""

import asyncio
import csv
import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest

from ire_otel.calibration import Calibration
from ire_otel.calibration.statistics import ConfusionCount
from tests.calibration_runs import Command, brain_url, calibrated, command, save

__all__ = ["brain_url", "calibrated", "command"]
SYNC = Calibration.sync


def judged(url: str, *pairs: tuple[float, float], principle: str = "META-12") -> None:
    """Have a person score runs that the gate scored: (human, gate) pairs."""
    runs = save(url, [{principle: gate} for _, gate in pairs], first=1 if principle == "META-12" else 1000)
    for trace_id, (human, _) in zip(runs, pairs, strict=True):
        SYNC.capture(trace_id, {principle: human}, reviewer="dana")


def test_agreement_of_a_principle(calibrated: str) -> None:
    """Weighted kappa, mean difference (human - gate) and how often each pair of scores occurred."""
    judged(calibrated, (3, 3), (1, 2), (1, 2), (0, 0))
    judged(calibrated, (2, 2), (2, 2), principle="META-1")
    report = SYNC.agreement()
    worst, other = report.principles
    assert (worst.principle_id, worst.n, worst.mean_difference) == ("META-12", 4, -0.5)
    # Squared differences: 2 of 1 in 4 pairs, against a mean of 2.625 over all 16 pairs of a human and a gate score.
    assert worst.kappa == pytest.approx(1 - 0.5 / 2.625)
    assert worst.confusion == (
        ConfusionCount(human=0, gate=0, count=1),
        ConfusionCount(human=1, gate=2, count=2),
        ConfusionCount(human=3, gate=3, count=1),
    )
    assert (other.principle_id, other.n, other.kappa, other.mean_difference) == ("META-1", 2, None, 0.0)
    assert report.overall is not None
    assert report.overall.n == 6
    assert report.overall.mean_difference == pytest.approx(-1 / 3)
    assert asyncio.run(Calibration.agreement()) == report


def test_the_last_opinion_of_a_reviewer_counts(calibrated: str) -> None:
    """And that of every reviewer; a note without a score is no opinion."""
    (run,) = save(calibrated, [{"META-12": 1}])
    for score in (0, 3, 1):
        SYNC.capture(run, {"META-12": score}, reviewer="dana")
    SYNC.capture(run, {"META-12": 2}, reviewer="kim")
    SYNC.capture(run, notes={"META-12": "hm"}, reviewer="lee")
    assert [(one.n, one.mean_difference) for one in SYNC.agreement().principles] == [(2, 0.5)]
    assert [(one.n, one.mean_difference) for one in SYNC.agreement(reviewer="dana").principles] == [(1, 0.0)]


def test_a_choice_of_principle_and_time(calibrated: str) -> None:
    """The time is that of the opinion."""
    judged(calibrated, (3, 3))
    judged(calibrated, (0, 1), principle="META-1")
    assert [one.principle_id for one in SYNC.agreement(principle="META-1").principles] == ["META-1"]
    now = datetime.now(UTC)
    assert len(SYNC.agreement(since=now - timedelta(minutes=5)).principles) == 2
    assert SYNC.agreement(since=now + timedelta(minutes=5)).overall is None
    assert SYNC.agreement(until=now - timedelta(minutes=5)).principles == []


def test_the_command(brain_url: str, command: Command) -> None:
    """As a table, JSON and CSV; with nothing to compare it says what to do."""
    nothing = command("calibrate", "agreement")
    assert nothing.out == "no score of a person matches: `ire-otel calibrate capture` gives some\n"
    assert json.loads(command("calibrate", "agreement", "--json").out) == {"overall": None, "principles": []}
    judged(brain_url, (1, 2), (3, 3))
    table = command("calibrate", "agreement").out.splitlines()
    assert [line.split() for line in table[1:]] == [
        ["META-12", "2", "0.67", "-0.50", "1/2", "(1)", "3/3", "(1)"],
        ["all", "2", "0.67", "-0.50", "1/2", "(1)", "3/3", "(1)"],
    ]
    report = json.loads(command("calibrate", "agreement", "--principle", "META-12", "--json").out)
    assert report["principles"][0]["kappa"] == report["overall"]["kappa"] == pytest.approx(2 / 3)
    rows = list(csv.DictReader(StringIO(command("calibrate", "agreement", "--since", "1d", "--csv").out)))
    assert [(row["principle_id"], row["n"]) for row in rows] == [("META-12", "2"), ("all", "2")]
    assert json.loads(rows[0]["confusion"])[0] == {"human": 1.0, "gate": 2.0, "count": 1}
