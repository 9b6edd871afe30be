"""The command line, as a person or a program calls it: the real `ire-otel` on runs that a real pipeline recorded."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ire_otel.cli.runs import starting_from
from ire_otel.cli.terminal import one_line, seconds
from ire_otel.cli.waterfall import Bar

PIPELINE = textwrap.dedent(r"""
    import contextlib, ire_otel

    with ire_otel.run("Are cobots winning?", project_name="cobot", intent="validating", domain="robotics",
                      report_type="market_research") as run:
        with ire_otel.stage("intake"):
            ire_otel.decide("bias_classification", what="confirmation_bias", why="the query assumes a winner",
                            confidence=0.72, alternatives=["no_bias"], inputs={"words": ["winning"]},
                            component="Intake")
        with ire_otel.stage("collection") as collection:
            collection.evidence(
                kept=[{"url": "https://ifr.org/report", "title": "\x1b[2J IFR", "scores": {"composite": 0.93}}],
                filtered_out=[{"url": "https://old.example", "reason": "published 2019", "scores": {"recency": 0.1}},
                              {"url": "https://older.example", "reason": "published 2019", "scores": {"recency": 0.0}}],
                by_source={"exa": 3})
        for attempt, score in ((1, 1), (2, 3)):
            with ire_otel.stage("synthesis") as synthesis:
                synthesis.usage(model="model-x", input_tokens=4500, output_tokens=380, cost_usd=0.32)
                ire_otel.decide("prompt_construction", what=f"prompt {attempt}", why="the rubric asks for sources")
            with ire_otel.stage("quality_gate") as gate:
                gate.score("META-1", 3, name="No Generics", feedback="specific throughout")
                gate.score("META-12", score, name="Source Attribution", feedback="claims lack citations, " * 20)
                gate.verdict(passed=attempt == 2, overall_score=1.0 + score / 2, threshold=2.0)
            run.record_iteration({"iteration": attempt, "quality_gate_result": "PASS" if attempt == 2 else "FAIL",
                                  "overall_score": 1.0 + score / 2, "gaps": ["META-12"] if attempt == 1 else []})
        with ire_otel.run("the evidence", project_name="cobot", output_type="evidence_pack"):
            pass
        run.set_outputs({"report_path": "brain/projects/cobot/artifacts/cobots.md"})
    with contextlib.suppress(ValueError), ire_otel.run("How do I begin?", project_name="garden", intent="learning"):
        with ire_otel.stage("intake"):
            raise ValueError("no source is left")
    assert ire_otel.flush(timeout=20)
""")


class Outcome(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


def ire_otel(folder: Path, *arguments: str, **variables: str) -> Outcome:
    """Run `ire-otel` in `folder`, without a terminal."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"IRE_OTEL_RAISE", "COLUMNS"}}
    done = subprocess.run(
        [Path(sys.executable).with_name("ire-otel"), *arguments],
        cwd=folder,
        env={**inherited, **variables},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def one_error(outcome: Outcome, code: int) -> str:
    """Give the one line on stderr with which a command failed with `code`."""
    assert (outcome.code, outcome.err.count("\n")) == (code, 1), outcome
    assert "Traceback" not in outcome.err
    return outcome.err


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in which the pipeline has run: two runs, one of them with a child."""
    folder = tmp_path_factory.mktemp("recorded")
    subprocess.run([sys.executable, "-c", PIPELINE], cwd=folder, check=True, timeout=60)
    return folder


def documents(folder: Path) -> dict[str, Any]:
    """Give the trace documents in `folder`, by their query."""
    read = [json.loads(path.read_bytes()) for path in folder.glob("brain/projects/*/_traces/trc_*.json")]
    return {document["run"]["query"]: document for document in read}


@pytest.fixture(scope="module")
def cobots(recorded: Path) -> dict[str, Any]:
    """Give the document of the run about cobots."""
    document = documents(recorded)["Are cobots winning?"]
    assert isinstance(document, dict)
    return document


@pytest.fixture
def files_only(recorded: Path, tmp_path: Path) -> Path:
    """Give a copy of the recorded folder that has no database."""
    shutil.copytree(recorded / "brain", tmp_path / "brain", ignore=shutil.ignore_patterns("traces.db*"))
    return tmp_path


def test_without_an_argument_it_shows_help(tmp_path: Path) -> None:
    """A bare `ire-otel` lists its commands and succeeds."""
    code, out, _ = ire_otel(tmp_path)
    assert code == 0
    assert all(command in out for command in ("demo", "runs", "show", "db"))
    assert not list(tmp_path.iterdir())


def test_version(tmp_path: Path) -> None:
    """`--version` prints the distribution's version."""
    assert ire_otel(tmp_path, "--version") == (0, f"ire-otel {version('ire-otel')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("rums",), "rums"),
        (("runs", "--intnt", "x"), "--intnt"),
        (("runs", "--since", "yesterday"), "'yesterday'"),
        (("runs", "--since", "9999999d"), "'9999999d'"),
        (("runs", "--status", "done"), "'done'"),
        (("runs", "--limit", "0"), "--limit"),
        (("show", "a", "b"), "b"),
    ],
)
def test_a_wrong_call_is_one_line(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    """A wrong call ends with exit code 2 and one line that names what was wrong."""
    assert named in one_error(ire_otel(tmp_path, *arguments), 2)


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    """A misspelt setting ends with exit code 2 and the nearest valid one."""
    assert "brain_dir" in one_error(ire_otel(tmp_path, "runs", IRE_OTEL_BRAIN_DIT="x"), 2)


@pytest.mark.parametrize(
    ("filters", "queries"),
    [
        ((), ["How do I begin?", "the evidence", "Are cobots winning?"]),
        (("--intent", "validating"), ["Are cobots winning?"]),
        (("--domain", "robotics"), ["Are cobots winning?"]),
        (("--project", "garden"), ["How do I begin?"]),
        (("--status", "incomplete"), ["How do I begin?"]),
        (("--since", "1h", "--limit", "1"), ["How do I begin?"]),
        (("--since", "2999-01-01"), []),
        (("--intent", "validating' OR 1=1 --"), []),
    ],
)
def test_runs_for_programs(recorded: Path, filters: tuple[str, ...], queries: list[str]) -> None:
    """`runs --json` prints the runs that match, newest first."""
    code, out, err = ire_otel(recorded, "runs", "--json", *filters)
    assert (code, err) == (0, "")
    assert [run["query"] for run in json.loads(out)] == queries


@pytest.mark.parametrize("columns", ["", "60", "200"])
def test_runs_as_a_table(recorded: Path, cobots: dict[str, Any], columns: str) -> None:
    """The table always has the whole trace_id, the status and the verdict, and no line is wider than the terminal."""
    variables = {"COLUMNS": columns} if columns else {}
    code, out, _ = ire_otel(recorded, "runs", **variables)
    assert code == 0
    (line,) = [line for line in out.splitlines() if cobots["trace_id"] in line]
    assert "complete" in line
    assert "PASS 2.50" in line
    assert max(map(len, out.splitlines())) <= int(columns or 160)


def test_runs_where_there_are_none(recorded: Path, tmp_path: Path) -> None:
    """No run that matches is no error; a database that does not exist is, and looking for it does not make it."""
    assert ire_otel(recorded, "runs", "--project", "none such") == (0, "no run matches\n", "")
    assert "traces.db" in one_error(ire_otel(tmp_path, "runs"), 1)
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_away(files_only: Path) -> None:
    """Without its database `runs` fails in one line that names the server; `show` goes on with the files."""
    away = {"IRE_OTEL_DATABASE_URL": "postgresql://ire:secret@127.0.0.1:9/ire"}
    message = one_error(ire_otel(files_only, "runs", **away), 1)
    assert "127.0.0.1" in message
    assert "secret" not in message
    assert ire_otel(files_only, "show", "last", **away).code == 0


def test_show_draws_the_run(recorded: Path, cobots: dict[str, Any]) -> None:
    """The waterfall has every attempt, decisions with reasons, funnel, scores with gaps, iterations and children."""
    code, out, err = ire_otel(recorded, "show", cobots["trace_id"])
    assert (code, err) == (0, "")
    bars = [line.split("  ")[0].strip() for line in out.splitlines() if "━" in line]
    assert [bar.split(" ·")[0].split(" ━")[0] for bar in bars] == [
        *("intake", "collection", "synthesis", "quality_gate", "synthesis #2", "quality_gate #2")
    ]
    for shown in (
        "gate PASS 2.50",
        "2 iterations, 1 failed at the gate",
        "bias_classification  Intake  (0.72)",
        "because the query assumes a winner",
        "3 collected → 1 kept, 2 filtered out",
        "published 2019 (2)",
        "model-x  4,500 tokens in, 380 out  $0.3200",
        "gap      1 META-12 Source Attribution claims lack citations",
        "strength 3 META-1  No Generics",
        "1  FAIL  1.5",
        "report_path brain/projects/cobot/artifacts/cobots.md",
        f"{cobots['child_traces'][0]['trace_id']}  evidence_pack",
    ):
        assert shown in " ".join(out.split("\n")), shown


def test_show_finds_a_run_by_its_beginning(recorded: Path, cobots: dict[str, Any]) -> None:
    """A trace_id may be cut as long as one run is meant; `last` is the run that began last."""
    whole = ire_otel(recorded, "show", cobots["trace_id"], "--json")
    assert json.loads(whole.out) == cobots
    assert ire_otel(recorded, "show", cobots["trace_id"][:-4], "--json") == whole
    assert json.loads(ire_otel(recorded, "show", "last", "--json").out)["run"]["query"] == "How do I begin?"


@pytest.mark.parametrize("wanted", ["trc_", "trc_%", "../../etc/passwd"])
@pytest.mark.parametrize("place", ["recorded", "files_only"])
def test_show_refuses_what_names_no_single_run(request: pytest.FixtureRequest, place: str, wanted: str) -> None:
    """An id that no run has, or several begin with, fails in one line that names it, with or without the database."""
    folder: Path = request.getfixturevalue(place)
    assert repr(wanted) in one_error(ire_otel(folder, "show", wanted), 1)


def test_show_works_from_the_files_alone(files_only: Path, cobots: dict[str, Any]) -> None:
    """The files are the truth: without a database, ids, their beginnings and `last` still find their run."""
    assert json.loads(ire_otel(files_only, "show", cobots["trace_id"][:-4], "--json").out) == cobots
    assert ire_otel(files_only, "show", "last").code == 0


def test_runs_link_to_jaeger(files_only: Path, cobots: dict[str, Any]) -> None:
    """Where it is known where Jaeger is: in `show` and in rows; no row is wrong because it is known elsewhere."""
    where = {"IRE_OTEL_JAEGER_URL": "https://jaeger.example.org"}
    link = f"https://jaeger.example.org/trace/{cobots['metadata']['otel_trace_id']}"
    shown = ire_otel(files_only, "show", cobots["trace_id"], COLUMNS="200", **where)
    assert link in shown.out
    assert ire_otel(files_only, "db", "reindex", **where).code == 0
    listed = json.loads(ire_otel(files_only, "runs", "--json").out)
    assert [run["jaeger_url"] for run in listed if run["trace_id"] == cobots["trace_id"]] == [link]
    assert "jaeger_url" not in ire_otel(files_only, "verify").out
    assert "jaeger" not in ire_otel(files_only, "show", cobots["trace_id"]).out


def test_show_of_a_corrupt_file(files_only: Path, cobots: dict[str, Any]) -> None:
    """A corrupt trace file fails in one line that names the file."""
    path = next(files_only.glob(f"brain/projects/*/_traces/{cobots['trace_id']}.json"))
    path.write_bytes(path.read_bytes()[:200])
    assert path.name in one_error(ire_otel(files_only, "show", cobots["trace_id"]), 1)


def test_show_of_a_lost_file(recorded: Path, files_only: Path, cobots: dict[str, Any]) -> None:
    """A row whose file is gone fails in one line that names the run."""
    shutil.copy(recorded / "brain/traces.db", files_only / "brain/traces.db")
    next(files_only.glob(f"brain/projects/*/_traces/{cobots['trace_id']}.json")).unlink()
    assert cobots["trace_id"] in one_error(ire_otel(files_only, "show", cobots["trace_id"]), 1)


def test_show_one_stage(recorded: Path, cobots: dict[str, Any]) -> None:
    """`--stage` shows one stage with everything it recorded; a name that the run has not is a wrong call."""
    code, out, _ = ire_otel(recorded, "show", cobots["trace_id"], "--stage", "intake")
    assert code == 0
    assert 'instead of ["no_bias"]' in out
    assert 'given {"words":["winning"]}' in out
    assert "synthesis" not in out
    as_json = ire_otel(recorded, "show", cobots["trace_id"], "--stage", "synthesis", "--json")
    assert json.loads(as_json.out) == cobots["stages"]["synthesis"]
    assert "did you mean synthesis?" in one_error(
        ire_otel(recorded, "show", cobots["trace_id"], "--stage", "sythesis"), 2
    )


def test_recorded_text_does_not_drive_the_terminal(recorded: Path, cobots: dict[str, Any]) -> None:
    """An escape sequence in what a web page said is printed, never sent to the terminal."""
    out = ire_otel(recorded, "show", cobots["trace_id"], "--stage", "collection").out
    assert "[2J IFR" in out
    assert "\x1b" not in out


def test_a_terminal_that_knows_only_ascii(recorded: Path, cobots: dict[str, Any]) -> None:
    """Where the output takes only ASCII, the waterfall is drawn in ASCII."""
    code, out, err = ire_otel(recorded, "show", cobots["trace_id"], PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "")
    assert out.isascii()
    assert "#" in out


def test_a_reader_that_goes_away(recorded: Path) -> None:
    """`ire-otel … | head -1` leaves no traceback behind."""
    command = f"{Path(sys.executable).with_name('ire-otel')} show last --json | head -1"
    done = subprocess.run(["sh", "-c", command], cwd=recorded, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_since() -> None:
    """`--since` takes an age, or a date or time that is UTC unless it says otherwise."""
    now = datetime(2026, 2, 13, 12, tzinfo=UTC)
    assert starting_from("7d", now) == now - timedelta(days=7)
    assert starting_from("24h", now) == starting_from("1440m", now) == now - timedelta(days=1)
    assert starting_from("2026-02-13", now) == now - timedelta(hours=12)
    assert starting_from("2026-02-13T13:00+01:00", now) == now
    with pytest.raises(typer.BadParameter):
        starting_from("7", now)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 300))
def test_a_bar_fills_its_width(begin: float, end: float, width: int) -> None:
    """However short a stage was, its bar can be seen, and the line is exactly as wide as it may be."""
    console = Console(width=width, file=StringIO(), color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(Bar((min(begin, end), max(begin, end)), "cyan"))
    (line,) = capture.get().splitlines()
    assert len(line) == width
    assert "━" in line or "#" in line


@given(st.text())
def test_one_line_is_printable(text: str) -> None:
    """Whatever was recorded becomes one line of printable characters."""
    assert one_line(text).isprintable()


def test_seconds() -> None:
    """Durations are written in the unit in which one thinks of them."""
    assert [seconds(value) for value in (None, 0.0123, 4.207, 185.0)] == ["–", "12.3 ms", "4.21 s", "3 min 05 s"]
