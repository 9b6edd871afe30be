"""Flags are checked by themselves after runs: told once, at no cost to the run, whatever goes wrong."""

import logging
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

import ire_otel
from ire_otel.calibration import (
    Calibration,
    FlagRow,
    scored_runs,
    watch,
)
from ire_otel.db.engine import database, engine
from ire_otel.query.execution import at_once
from ire_otel.settings import load
from tests.calibration_runs import calibrated, save, worsening

__all__ = ["calibrated"]
SYNC = Calibration.sync


def stored() -> list[FlagRow]:
    """Give every stored flag."""
    return list(SYNC.flags("all"))


def failing_run() -> None:
    with (
        ire_otel.run("q", project_name="cobot", intent="validating", report_type="market_research"),
        ire_otel.stage("quality_gate") as stage,
    ):
        stage.score("META-12", 1)
        stage.score("META-1", 3)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Give level and first words of what was logged about flags."""
    about = [record for record in caplog.records if "ire-otel flags list" in record.message]
    return [(record.levelname, record.message) for record in about]


def test_runs_are_checked_at_the_latest_when_the_process_ends(
    calibrated: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A principle that began to fail is a warning, once; what `count` says may be chance, and is information."""
    save(calibrated, worsening())
    with caplog.at_level(logging.INFO, "ire_otel"):
        for _ in range(3):
            failing_run()
        ire_otel.shutdown(20)
        failing_run()
        ire_otel.shutdown(20)
    assert [level for level, _ in told(caplog)] == ["WARNING", "INFO"]
    assert "of its last 40 runs" in told(caplog)[0][1]
    assert [flag.times_raised for flag in stored()] == [1, 1]


def test_a_lasting_process_checks_in_between(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some seconds after a run, without waiting for another one."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", sqlite_url)
    monkeypatch.setattr(watch, "PAUSE", 0.05)
    with caplog.at_level(logging.INFO, "ire_otel"):
        for _ in range(3):
            failing_run()
        deadline = time.monotonic() + 20
        while not told(caplog) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert [level for level, _ in told(caplog)] == ["INFO"]


def test_only_the_chosen_policies_look(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With none, nothing looks by itself."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", sqlite_url)
    save(sqlite_url, worsening())
    for policies, expected in (((), []), (("rate",), ["rate"]), (("rate", "count"), ["count", "rate"])):
        ire_otel.configure(flag_policies=policies)
        failing_run()
        ire_otel.shutdown(20)
        assert sorted(flag.policy for flag in stored()) == expected


def test_a_check_that_fails_harms_no_run(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """File and row are written; one line in the log says what went wrong."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", sqlite_url)
    with engine(database(sqlite_url)).begin() as connection:
        connection.execute(sa.text("DROP TABLE trace_flags"))
    for _ in range(3):
        failing_run()
    assert ire_otel.shutdown(20)
    assert [record.exc_info for record in caplog.records] == [None]
    assert "calibration flags are not checked" in caplog.text
    assert at_once(database(sqlite_url), load(), lambda brain: scored_runs.looks(brain.connection, _later())) == 3


def _later() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)
