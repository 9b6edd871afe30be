"""Calibration capture: what a person thinks of a run is kept, in the file first, and comes back, on both databases."""

import asyncio
import json
import os
import pty
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from ire_otel import reviews
from ire_otel.calibration import Calibration, CalibrationError, HumanScore
from ire_otel.db.engine import database, engine
from ire_otel.db.replay import CALIBRATION, differences, replay
from ire_otel.db.tables import trace_calibrations
from ire_otel.query import RunNotFoundError
from ire_otel.reviews import Entry, ReviewError
from ire_otel.settings import load
from tests.calibration_runs import Command, brain_url, calibrated, command, gate, save
from tests.sample_document import sample_document
from tests.test_cli import one_error

__all__ = ["brain_url", "calibrated", "command"]
SYNC = Calibration.sync


@pytest.fixture
def run(calibrated: str) -> str:
    """The trace_id of a recorded run: META-1 scored 3, META-12 scored 1."""
    (trace_id,) = save(calibrated, [{}], stages=sample_document().stages)
    return trace_id


def rows(url: str) -> list[dict[str, Any]]:
    """Give what is stored about people's opinions, on the run first."""
    with engine(database(url)).connect() as connection:
        found = connection.execute(sa.select(trace_calibrations)).mappings()
        return sorted(map(dict, found), key=lambda row: row["principle_id"] or "")


def entries(trace_id: str) -> list[Entry]:
    return reviews.entries(load(), "cobot", trace_id)


# -- the form ----------------------------------------------------------------------------------------------------------


def test_the_form_holds_what_the_run_knows(run: str) -> None:
    """Intent, verdict, evidence and principles with the gate's scores and words; gaps first."""
    form = SYNC.draft(run)
    assert (form.intent, form.domain, form.report_type) == ("validating", "robotics", "market_research")
    assert (form.quality_gate_passed, form.overall_quality_score, form.gap_principles) == (True, 2.4, ["META-12"])
    assert (form.evidence_collected, form.evidence_passed, form.evidence_filtered) == (28, 18, 10)
    assert {source.source for source in form.sources} >= {"exa", "reddit"}
    assert [(one.principle_id, one.gate_score, one.gap) for one in form.principles] == [
        ("META-12", 1.0, True),
        ("META-1", 3.0, False),
    ]
    assert form.principles[0].feedback == "claims lack citations"
    assert asyncio.run(Calibration.draft(run)) == form


def test_a_gap_without_a_score_is_in_the_form(calibrated: str) -> None:
    """A person can score it all the same."""
    (trace_id,) = save(calibrated, [{}], stages={"quality_gate": gate({}, gaps=["META-7"])})
    assert [(one.principle_id, one.gate_score) for one in SYNC.draft(trace_id).principles] == [("META-7", None)]
    SYNC.capture(trace_id, {"META-7": 2})
    assert [(row["gate_score"], row["human_score"]) for row in rows(calibrated)][1:] == [(None, 2.0)]


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_a_capture_says_who_thought_what_of_which_score(run: str, calibrated: str) -> None:
    """One row a principle that a person scored, one on the run; the same in the review file, before."""
    kept = SYNC.capture(
        run,
        {"META-12": 2.5},
        notes={"META-1": "not so generic"},
        corrections={"intent": "exploring", "domain": "robotics"},
        note=" for the talk ",
        reviewer="dana",
    )
    assert kept.scores == [
        HumanScore(principle_id="META-12", gate_score=1.0, human_score=2.5),
        HumanScore(principle_id="META-1", gate_score=3.0, note="not so generic"),
    ]
    assert (kept.confirmed["intent"], kept.confirmed["domain"]) == ("exploring", "robotics")
    assert kept.corrected == {"intent": "exploring"}
    on_run, meta_1, meta_12 = rows(calibrated)
    assert {row["reviewer"] for row in (on_run, meta_1, meta_12)} == {"dana"}
    assert (on_run["note"], on_run["human_score"], on_run["data"]["corrected"]) == (
        "for the talk",
        None,
        {"intent": "exploring"},
    )
    assert on_run["data"]["recorded"]["evidence_collected"] == 28
    assert (meta_12["gate_score"], meta_12["human_score"], meta_12["note"]) == (1.0, 2.5, None)
    assert (meta_1["gate_score"], meta_1["human_score"], meta_1["note"]) == (3.0, None, "not so generic")
    assert [entry.kind for entry in entries(run)] == [CALIBRATION] * 3
    assert [entry.data.get("principle_id") for entry in entries(run)] == [None, "META-12", "META-1"]


def test_awaited_it_keeps_the_same(run: str, calibrated: str) -> None:
    """Over several event loops; a second opinion stands beside the first."""
    for score in (0, 3):
        asyncio.run(Calibration.capture(run, {"META-12": score}, reviewer="dana"))
    assert sorted(row["human_score"] for row in rows(calibrated) if row["principle_id"]) == [0.0, 3.0]
    assert len(entries(run)) == 4


def test_any_text_can_be_kept(run: str, calibrated: str) -> None:
    """Also what only one of the databases would take."""
    SYNC.capture(run, notes={"META-1": "a\0b \ud800"}, note="c\0", reviewer="r" * 300)
    on_run, on_principle = rows(calibrated)
    assert (on_principle["note"], on_run["note"], len(on_run["reviewer"])) == ("a\ufffdb \ufffd", "c\ufffd", 200)
    assert_replayed(calibrated, run)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"scores": {"META-13": 1}}, "no principle 'META-13': did you mean META-1.*valid are META-1, META-12"),
        ({"notes": {"MR-3": "x"}}, "no principle 'MR-3'"),
        ({"scores": {"META-1": 3.5}}, "score of META-1 cannot be 3.5: give a number from 0 to 3"),
        ({"scores": {"META-1": -1}}, "cannot be -1"),
        ({"scores": {"META-1": True}}, "cannot be True"),
        ({"scores": {"META-1": float("nan")}}, "cannot be nan"),
        ({"scores": {"META-1": "2"}}, "cannot be '2'"),
        ({"corrections": {"intend": "x"}}, "'intend' of a run cannot be corrected: valid are intent, domain"),
        ({"corrections": {"intent": " "}}, "intent cannot be ' '"),
        ({"corrections": {"quality_gate_passed": "yes"}}, "quality_gate_passed cannot be 'yes': give True or False"),
    ],
)
def test_what_cannot_be_kept_is_named(run: str, calibrated: str, arguments: dict[str, Any], named: str) -> None:
    """Nothing of it is kept then."""
    with pytest.raises(CalibrationError, match=named):
        SYNC.capture(run, **arguments)
    assert rows(calibrated) == []
    assert entries(run) == []


def test_a_run_that_is_not_there(calibrated: str) -> None:
    """Named."""
    with pytest.raises(RunNotFoundError, match="no run 'trc_x'"):
        SYNC.capture("trc_x", {})


def test_the_file_comes_first(run: str, calibrated: str) -> None:
    """Where it cannot be written nothing is stored."""
    folder = reviews.review_file(load(), "cobot", run).parent
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    with pytest.raises(ReviewError, match="nothing was changed"):
        SYNC.capture(run, {"META-1": 1})
    assert rows(calibrated) == []


def assert_replayed(url: str, trace_id: str) -> None:
    """What people said is the same after the table was emptied and the file read, twice."""
    before = rows(url)
    assert before
    with engine(database(url)).begin() as connection:
        connection.execute(sa.delete(trace_calibrations))
        for _ in range(2):
            replay(connection, trace_id, entries(trace_id))
        assert list(differences(connection, trace_id, entries(trace_id))) == []
    assert rows(url) == before


def test_the_file_gives_everything_back(run: str, calibrated: str) -> None:
    """Exactly."""
    SYNC.capture(run, {"META-1": 1, "META-12": 0.5}, note="n", corrections={"quality_gate_passed": False})
    SYNC.capture(run, {"META-1": 1}, reviewer="dana")
    assert_replayed(calibrated, run)


# -- at the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def one_run(brain_url: str) -> str:
    """The URL of the database in the brain folder, which holds one run."""
    save(brain_url, [{}], stages=sample_document().stages)
    return brain_url


def captured(command: Command, *arguments: str) -> Any:
    """Call `ire-otel calibrate capture last --json`."""
    done = command("calibrate", "capture", "last", "--json", *arguments)
    assert done.code == 0, done
    return json.loads(done.out)


@pytest.mark.usefixtures("one_run")
def test_without_a_terminal(command: Command) -> None:
    """--set says it, --yes keeps it; only what is said is a score."""
    settings = ("META-12=2", "META-12.note=two sources, though", "intent=exploring", "quality_gate_passed=no", "note=n")
    kept = captured(command, *(part for setting in settings for part in ("--set", setting)), "--yes")
    assert kept["scores"] == [
        {"principle_id": "META-12", "gate_score": 1.0, "human_score": 2.0, "note": "two sources, though"}
    ]
    assert kept["corrected"] == {"intent": "exploring", "quality_gate_passed": False}
    assert kept["note"] == "n"
    assert captured(command, "--yes", "--reviewer", "dana")["scores"] == []
    plain = command("calibrate", "capture", "--set", "META-12=2", "--reviewer", "dana", "--yes")
    assert plain.out.splitlines()[0].endswith(": 1 score kept by dana")
    assert plain.out.splitlines()[1:] == ["  META-12 gate 1, you 2"]


@pytest.mark.usefixtures("one_run")
def test_agreeing_with_the_rest(command: Command) -> None:
    """--agree scores what --set leaves out as the gate did."""
    kept = captured(command, "--agree", "--set", "META-12=3", "--yes")
    scores = {one["principle_id"]: (one["gate_score"], one["human_score"]) for one in kept["scores"]}
    assert scores == {"META-12": (1.0, 3.0), "META-1": (3.0, 3.0)}


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("last",), 2, "needs a terminal to ask at, or --yes"),
        (("last", "--yes", "--set", "META-12"), 2, "'META-12' is not KEY=VALUE"),
        (("last", "--yes", "--set", "META-99=1"), 2, "no principle 'META-99'"),
        (("last", "--yes", "--set", "META-12=good"), 2, "score of META-12 cannot be 'good'"),
        (("last", "--yes", "--set", "META-12=4"), 2, "give a number from 0 to 3"),
        (("last", "--yes", "--set", "MR-9.note=x"), 2, "no principle 'MR-9'"),
        (("last", "--yes", "--set", "quality_gate_passed=maybe"), 2, "give yes or no"),
        (("trc_nothing", "--yes"), 1, "no run 'trc_nothing'"),
    ],
)
def test_a_mistake_is_one_line(one_run: str, command: Command, arguments: Sequence[str], code: int, named: str) -> None:
    """With the value, the place and the remedy; nothing is kept."""
    assert named in one_error(command("calibrate", "capture", *arguments), code)
    assert rows(one_run) == []


def at_terminal(answers: Sequence[tuple[str, str]], *arguments: str) -> tuple[int, str]:
    """Call `ire-otel calibrate capture` at a terminal, and answer what it asks; gives the exit code and the screen."""
    process, terminal = pty.fork()
    if process == 0:
        program = str(Path(sys.executable).with_name("ire-otel"))
        os.execv(program, [program, "calibrate", "capture", "last", *arguments])  # noqa: S606 # the real command
    screen, seen = "", 0
    for question, answer in answers:
        deadline = time.monotonic() + 30
        while not re.search(question, screen[seen:]):
            assert time.monotonic() < deadline, screen
            screen += os.read(terminal, 4096).decode()
        seen = len(screen)
        os.write(terminal, f"{answer}\n".encode())
    try:
        while part := os.read(terminal, 4096):
            screen += part.decode()
    except OSError:
        pass  # the other end is closed
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), screen


FACTS = [
    (r"intent \[validating\]: $", "exploring"),
    (r"domain \[robotics\]: $", ""),
    (r"report_type \[market_research\]: $", ""),
    (r"passed \[Y/n\]: $", "n"),
]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_at_a_terminal_everything_is_filled_in(one_run: str) -> None:
    """Enter confirms, another answer corrects, a wrong one is asked for again; a differing score may say why."""
    answers = [
        *FACTS,
        (r"META-12 Source Attribution – gate 1: claims lack citations\s+your score \[1\]: $", "9"),
        (r"give a number from 0 to 3, or -\s+your score \[1\]: $", "2"),
        (r"why: $", "two sources"),
        (r"META-1 No Generics – gate 3: specific throughout\s+your score \[3\]: $", ""),
        (r"note on the run: $", "for the talk"),
        (r"Keep 2 scores \(1 other than the gate's\) and 2 corrections\? \[y/N\]: $", "y"),
    ]
    code, screen = at_terminal(answers, "--reviewer", "dana")
    assert code == 0, screen
    assert "evidence: 28 collected, 18 kept, 10 filtered out" in screen
    assert "2 scores kept by dana" in screen
    on_run, meta_1, meta_12 = rows(one_run)
    assert (meta_1["human_score"], meta_12["human_score"], meta_12["note"]) == (3.0, 2.0, "two sources")
    assert (on_run["note"], on_run["data"]["corrected"]) == (
        "for the talk",
        {"intent": "exploring", "quality_gate_passed": False},
    )


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_at_a_terminal_one_may_skip_and_think_again(one_run: str) -> None:
    """A dash gives no score; without the last yes nothing is kept."""
    answers = [*FACTS, (r"your score \[3\]: $", "-"), (r"note on the run: $", ""), (r"Keep 1 score .*\]: $", "n")]
    code, screen = at_terminal(answers, "--set", "META-12=0")
    assert code == 1, screen
    assert rows(one_run) == []
    assert not list(Path("brain").glob("projects/*/_reviews/*"))


def test_the_form_is_plain_data(run: str) -> None:
    """As a program or a form of one's own takes it."""
    form = SYNC.draft(run)
    assert msgspec.json.decode(msgspec.json.encode(form), type=type(form)) == form
