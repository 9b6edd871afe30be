"""`ire-otel flags`, as a person or a program calls it."""

import json
import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ire_otel.calibration import (
    Calibration,
)
from ire_otel.cli import flags as cli_flags
from tests.calibration_runs import Command, brain_url, command, save, worsening
from tests.test_cli import one_error

__all__ = ["brain_url", "command"]
SYNC = Calibration.sync
FAILED: Mapping[str, float] = {"META-12": 1, "META-1": 3}


def only(found: list[Any]) -> Any:
    (one,) = found
    return one


@pytest.fixture
def began_to_fail(brain_url: str) -> None:
    """The brain folder holds 120 runs in which META-12 began to fail."""
    save(brain_url, worsening())


@pytest.mark.usefixtures("began_to_fail")
def test_the_commands(command: Command) -> None:
    """Check, list, snooze, resolve and reopen, for people and for programs."""
    checked = command("flags", "check")
    assert checked.code == 0, checked
    assert checked.out.count("new: Principle META-12") == 2
    assert checked.out.endswith("2 flags, 2 new; 0 silenced\n")
    assert command("flags", "check").out.endswith("2 flags, 0 new; 0 silenced\n")
    listed = json.loads(command("flags", "list", "--policy", "rate", "--json").out)
    flag_id = only(listed)["id"]
    snoozed = command("flags", "snooze", flag_id[:8], "--until", "7d", "--note", "known")
    assert snoozed.out.startswith(f"flag {flag_id[:8]} (rate META-12) is snoozed until ")
    table = command("flags", "list", "--status", "snoozed").out
    assert "(known)" in table
    assert "count" not in table
    assert json.loads(command("flags", "resolve", flag_id, "--json").out)["status"] == "resolved"
    assert command("flags", "check").out.endswith("1 flags, 0 new; 1 silenced\n")
    assert "is open again" in command("flags", "reopen", flag_id).out
    rows = command("flags", "list", "--status", "all", "--csv").out.splitlines()
    assert (rows[0].split(",")[:3], len(rows)) == (["id", "policy", "principle_id"], 3)
    assert [one["new"] for one in json.loads(command("flags", "check", "--json").out)] == [False, False]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("snooze", "META-12", "--until", "soon"), 2, "'soon' is neither an age like 14d nor a date"),
        (("snooze", "META-12", "--until", "2026-01-01"), 2, "'2026-01-01' is not to come"),
        (("resolve", "nothing"), 1, "no flag 'nothing'"),
        (("list", "--status", "shut"), 2, "shut"),
    ],
)
@pytest.mark.usefixtures("began_to_fail")
def test_a_mistake_is_one_line(command: Command, arguments: tuple[str, ...], code: int, named: str) -> None:
    """With the value, the place and the remedy."""
    assert named in one_error(command("flags", *arguments), code)


def test_the_commands_of_the_page_work(brain_url: str, command: Command) -> None:
    """Every line that asks nothing, in the order of docs/calibration-flags.md."""
    save(brain_url, [FAILED] * 3)
    (flag_id,) = (finding.flag.id[:8] for finding in SYNC.check())
    page = (Path(__file__).parent.parent / "docs" / "calibration-flags.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    called = [shlex.split(re.sub("snooze [0-9a-f]{8}", f"snooze {flag_id}", line)) for line in lines]
    done = [command(*words[1:]) for words in called if words[1:] != ["calibrate", "capture", "last"]]
    assert len(done) == 9
    assert [outcome for outcome in done if outcome.code] == []


def test_the_end_of_a_snooze() -> None:
    """So many days ahead, or a date or time; one without a zone is UTC."""
    now = datetime(2026, 2, 13, 12, tzinfo=UTC)
    assert cli_flags.ending("14d", now) == now + timedelta(days=14)
    assert cli_flags.ending("2026-03-01", now) == datetime(2026, 3, 1, tzinfo=UTC)
    assert cli_flags.ending("2026-03-01T10:00+02:00", now) == datetime(2026, 3, 1, 8, tzinfo=UTC)
