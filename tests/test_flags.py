"""Flags at work: raised once whoever looks, kept, silenced and brought back, on both databases."""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import sqlalchemy as sa

import ire_otel
from ire_otel import TraceContext, reviews
from ire_otel.calibration import (
    Calibration,
    FlagError,
    FlagRow,
    check_calibration_flags,
    check_calibration_flags_sync,
)
from ire_otel.db import flag_states
from ire_otel.db.engine import database, engine
from ire_otel.db.replay import differences, replay
from ire_otel.db.tables import trace_flags
from ire_otel.reviews import Entry, ReviewError
from ire_otel.settings import load
from tests.calibration_runs import calibrated, gate, save, worsening

__all__ = ["calibrated"]
SYNC = Calibration.sync
COUNTED = "Principle META-12 has scored below threshold {} times in the last 7 days. Consider reviewing calibration."
FAILED: Mapping[str, float] = {"META-12": 1, "META-1": 3}


def stored() -> list[FlagRow]:
    """Give every stored flag."""
    return list(SYNC.flags("all"))


def only(found: list[Any]) -> Any:
    (one,) = found
    return one


def entries(flag: FlagRow) -> list[Entry]:
    """Give what was done about the flags of the run that raised this one."""
    return reviews.entries(load(), flag.project_name, flag.trace_id)


# -- raised, and told once ---------------------------------------------------------------------------------------------


def test_a_principle_that_began_to_fail_is_stored_and_told_once(calibrated: str) -> None:
    """With the figures behind it and the newest run that failed; looking again is no news."""
    runs = save(calibrated, worsening())
    finding = only(SYNC.check(policies=["rate"]))
    assert finding.new
    flag = only(stored())
    assert finding.flag == flag
    assert (flag.policy, flag.principle_id, flag.intent, flag.report_type, flag.status) == (
        "rate",
        "META-12",
        "validating",
        "market_research",
        "open",
    )
    assert (flag.runs, flag.failures, flag.baseline_runs, flag.baseline_rate) == (40, 30, 80, 0.1)
    assert flag.low < flag.rate < flag.high
    assert flag.q_value is not None
    assert flag.q_value < 0.05
    assert (flag.trace_id, flag.project_name, flag.times_raised) == (runs[-1], "cobot", 1)
    assert "30 of its last 40 runs" in flag.message
    assert [again.new for again in SYNC.check(policies=["rate"])] == [False]
    assert stored() == [flag]


def test_awaited_it_gives_the_same(calibrated: str) -> None:
    """Over several event loops."""
    save(calibrated, worsening())
    first = asyncio.run(Calibration.check())
    assert [finding.flag.policy for finding in first] == ["rate", "count"]
    assert asyncio.run(Calibration.flags()) == SYNC.flags()
    assert [finding.flag for finding in SYNC.check()] == [finding.flag for finding in first]


def test_runs_of_another_kind_are_compared_with_their_own(calibrated: str) -> None:
    """Nothing began to fail where one intent always failed and another never did."""
    save(calibrated, [FAILED] * 100, intent="exploring")
    save(calibrated, [{"META-12": 3}] * 100, first=1000)
    assert SYNC.check(policies=["rate"]) == []
    assert only(SYNC.check(policies=["count"])).flag.intent == ""


def test_whoever_looks_at_the_same_time_only_one_tells(calibrated: str) -> None:
    """Eight at once: each flag is new to one of them."""
    save(calibrated, worsening())
    with ThreadPoolExecutor(8) as pool:
        looks = list(pool.map(lambda _: SYNC.check(), range(8)))
    told = [finding.flag.policy for found in looks for finding in found if finding.new]
    assert sorted(told) == ["count", "rate"]
    assert [flag.times_raised for flag in stored()] == [1, 1]


def test_a_gap_that_the_gate_named_without_a_score_counts(calibrated: str) -> None:
    """So do runs of pipelines that only list their gaps."""
    save(calibrated, [{}] * 3, stages={"quality_gate": gate({}, gaps=["META-12"])})
    assert only(SYNC.check()).message == COUNTED.format(3)


def test_an_unknown_policy_is_named(calibrated: str) -> None:
    """With the valid ones."""
    with pytest.raises(FlagError, match="no policy 'rat': valid are rate, count"):
        SYNC.check(policies=["rat"])  # type: ignore[list-item] # the point


# -- as the pipeline asks ----------------------------------------------------------------------------------------------


class Run(msgspec.Struct):
    """What is known of a finished run."""

    trace_id: str


@pytest.mark.parametrize("failures", [2, 3, 4])
async def test_the_literal_rule_of_three_failures_in_seven_days(calibrated: str, failures: int) -> None:
    """Older failures do not count; it says the same whenever it is asked."""
    save(calibrated, [FAILED] * 9, first=100, started_at=(datetime.now(UTC) - timedelta(days=8)).isoformat())
    *_, last = save(calibrated, [FAILED] * failures)
    expected = [COUNTED.format(failures)] if failures >= 3 else []
    assert await check_calibration_flags(Run(last)) == expected
    assert await asyncio.to_thread(check_calibration_flags_sync, Run(last)) == expected


async def test_the_pipeline_asks_about_its_own_run(calibrated: str) -> None:
    """A live trace, once it is finished; the coroutine of the blueprint."""
    messages = []
    for _ in range(3):
        async with TraceContext.start(query="q", project_name="cobot") as trace:
            trace.start_stage("quality_gate")
            trace.end_stage("quality_gate", outputs={"principle_scores": {"META-12": 1}, "gap_principles": ["META-12"]})
        await TraceContext.finish(trace)
        messages.append(await check_calibration_flags(trace))
    assert messages == [[], [], [COUNTED.format(3)]]


async def test_only_what_this_run_failed_is_spoken_of(calibrated: str) -> None:
    """A run without a gap reveals nothing, whatever others did."""
    *_, fine = save(calibrated, [*[FAILED] * 5, {"META-12": 3}])
    assert await check_calibration_flags(Run(fine)) == []
    *_, other = save(calibrated, [{"META-1": 0}] * 3, first=50)
    assert [message.split()[1] for message in await check_calibration_flags(Run(other))] == ["META-1"]


@pytest.mark.parametrize("silence", ["snooze", "resolve"])
def test_what_somebody_silenced_is_not_said(calibrated: str, silence: str) -> None:
    """Until it is reopened."""
    *_, last = save(calibrated, [FAILED] * 3)
    assert check_calibration_flags_sync(Run(last)) == [COUNTED.format(3)]
    if silence == "snooze":
        SYNC.snooze("META-12", datetime.now(UTC) + timedelta(days=1))
    else:
        SYNC.resolve("META-12")
    assert check_calibration_flags_sync(Run(last)) == []
    SYNC.reopen("META-12")
    assert check_calibration_flags_sync(Run(last)) == [COUNTED.format(3)]


async def test_asking_never_harms_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No database, or no row yet: nothing to say, and one warning that names the remedy. Tracing off: not even that."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", f"sqlite:///{tmp_path / 'none.db'}")
    assert await check_calibration_flags(Run(f"trc_{uuid4().hex}")) == []
    ire_otel.configure(enabled=False)
    with ire_otel.run("q") as off:
        pass
    assert await check_calibration_flags(off) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no database at" in caplog.text


def test_a_run_that_is_not_saved_yet_is_a_warning(calibrated: str, caplog: pytest.LogCaptureFixture) -> None:
    """The warning says what to do first."""
    # A warning is given once in a process.
    assert check_calibration_flags_sync(Run(f"trc_{uuid4().hex}")) == []
    assert "finish it before its flags are checked" in caplog.text


# -- what people do about flags ----------------------------------------------------------------------------------------


@pytest.fixture
def flag(calibrated: str) -> FlagRow:
    """A `count` flag on META-12, just raised."""
    save(calibrated, [FAILED] * 3)
    found: FlagRow = only(SYNC.check()).flag
    return found


def test_what_is_done_stands_in_the_review_file_and_in_the_row(flag: FlagRow) -> None:
    """Who, when, why, and all that the row holds afterwards."""
    until = datetime.now(UTC) + timedelta(days=14)
    snoozed = SYNC.snooze(flag.id[:8], until, note="a new corpus", who="dana")
    resolved = asyncio.run(Calibration.resolve("META-12"))
    reopened = SYNC.reopen(flag.id, note="it was not the corpus")
    assert (snoozed.status, snoozed.snoozed_until, snoozed.note) == ("snoozed", until, "a new corpus")
    assert (resolved.status, resolved.snoozed_until, resolved.note) == ("resolved", None, "a new corpus")
    assert (reopened.status, reopened.resolved_at) == ("reopened", resolved.resolved_at)
    assert stored() == [reopened]
    said = entries(flag)
    assert [entry.data["action"] for entry in said] == ["snooze", "resolve", "reopen"]
    assert [entry.who for entry in said] == ["dana", None, None]


def test_the_file_comes_first(flag: FlagRow) -> None:
    """Where it cannot be written the flag stays as it is."""
    folder = reviews.review_file(load(), flag.project_name, flag.trace_id).parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    with pytest.raises(ReviewError, match="nothing was changed"):
        SYNC.resolve("META-12")
    assert stored() == [flag]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: SYNC.resolve("META-13"), "no flag 'META-13'"),
        (lambda: SYNC.resolve(""), "no flag ''"),
        (lambda: SYNC.reopen("META-12"), "cannot reopen flag .*: the flag is open already"),
        (lambda: SYNC.snooze("META-12", datetime(2026, 1, 1, tzinfo=UTC)), "give a time to come"),
        (lambda: SYNC.flags("opened"), "no status 'opened': valid are all, open"),  # type: ignore[arg-type] # the point
    ],
)
def test_what_cannot_be_done_is_named(flag: FlagRow, change: Any, named: str) -> None:
    """The flag stays as it is, and nothing is written."""
    with pytest.raises(FlagError, match=named):
        change()
    assert stored() == [flag]
    assert entries(flag) == []


def test_a_principle_with_two_flags_needs_the_id(calibrated: str) -> None:
    """The candidates are named."""
    save(calibrated, worsening())
    ids = sorted(finding.flag.id[:8] for finding in SYNC.check())
    with pytest.raises(FlagError, match="fits more than one flag") as raised:
        SYNC.resolve("META-12")
    assert all(flag_id in str(raised.value) for flag_id in ids)


def test_flags_are_listed_by_status_policy_and_principle(calibrated: str) -> None:
    """Without a status: those that are neither snoozed nor resolved."""
    save(calibrated, worsening())
    save(calibrated, [{"META-3": 0}] * 3, first=1000, intent="exploring")
    SYNC.check()
    SYNC.resolve("META-3")
    assert {flag.principle_id for flag in SYNC.flags()} == {"META-12"}
    assert [flag.principle_id for flag in SYNC.flags("resolved")] == ["META-3"]
    assert len(SYNC.flags("all")) == 3
    assert len(SYNC.flags("all", 1)) == 1
    assert [flag.policy for flag in SYNC.flags(policy="rate")] == ["rate"]
    assert [flag.principle_id for flag in SYNC.flags("all", principle="META-3")] == ["META-3"]


def test_a_snooze_ends(flag: FlagRow) -> None:
    """Afterwards the flag is told again where it still stands."""
    until = datetime.now(UTC) + timedelta(days=1)
    SYNC.snooze("META-12", until)
    assert [finding.new for finding in SYNC.check(now=until - timedelta(seconds=1))] == [False]
    assert [finding.new for finding in SYNC.check(now=until)] == [True]
    again = only(stored())
    assert (again.status, again.times_raised, again.first_raised_at) == ("open", 2, flag.first_raised_at)
    assert again.last_raised_at == until


def test_only_new_runs_reopen_what_is_resolved(flag: FlagRow, calibrated: str) -> None:
    """Three failures after the resolution, of which the flag then tells."""
    SYNC.resolve("META-12", note="the prompt asked for no sources")
    save(calibrated, [FAILED] * 2, first=100, started_at=datetime.now(UTC).isoformat())
    assert [(finding.new, finding.flag.status) for finding in SYNC.check()] == [(False, "resolved")]
    *_, newest = save(calibrated, [FAILED] * 3, first=200, started_at=datetime.now(UTC).isoformat())
    assert [(finding.new, finding.flag.status) for finding in SYNC.check()] == [(True, "reopened")]
    again = only(stored())
    assert (again.trace_id, again.failures, again.note) == (newest, 8, "the prompt asked for no sources")


# -- brought back from the files ---------------------------------------------------------------------------------------


def told_in_two_runs(url: str) -> Iterator[tuple[str, list[Entry]]]:
    """Snooze and resolve a flag, have it raised again by a later run, and resolve it there: two files."""
    SYNC.snooze("META-12", datetime.now(UTC) + timedelta(days=1), who="dana")
    first = SYNC.resolve("META-12")
    save(url, [FAILED] * 3, first=200, started_at=datetime.now(UTC).isoformat())
    SYNC.check()
    second = SYNC.resolve("META-12", note="once more")
    for row in (first, second):
        yield row.trace_id, entries(row)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_files_give_back_every_flag_in_any_order(flag: FlagRow, calibrated: str, *, backwards: bool) -> None:
    """As often as they are read."""
    files = list(told_in_two_runs(calibrated))
    before = stored()
    with engine(database(calibrated)).begin() as connection:
        connection.execute(sa.delete(trace_flags))
        assert len(list(differences(connection, *files[-1]))) == 1
        for trace_id, said in [*files, *files][:: -1 if backwards else 1]:
            assert replay(connection, trace_id, said) == []
        assert [list(differences(connection, *file)) for file in files] == [[], []]
    assert stored() == before


def test_what_was_told_since_stays(flag: FlagRow, calibrated: str) -> None:
    """Reading the files again does not take back what the policies said later."""
    SYNC.resolve("META-12")
    save(calibrated, [FAILED] * 3, first=200, started_at=datetime.now(UTC).isoformat())
    SYNC.check()
    reopened = stored()
    with engine(database(calibrated)).begin() as connection:
        flag_states.apply(connection, flag.trace_id, entries(flag))
        assert list(flag_states.differences(connection, flag.trace_id, entries(flag))) == []
    assert stored() == reopened


def test_a_row_that_differs_is_named(flag: FlagRow, calibrated: str) -> None:
    """By column, with both sides; reading the file mends it."""
    SYNC.resolve("META-12", note="said")
    with engine(database(calibrated)).begin() as connection:
        connection.execute(sa.update(trace_flags).values(note="written"))
        found = list(flag_states.differences(connection, flag.trace_id, entries(flag)))
        flag_states.apply(connection, flag.trace_id, entries(flag))
    assert found == [("trace_flags.note", "said", "written")]
    assert only(stored()).note == "said"
