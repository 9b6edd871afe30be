"""`ire-otel query`, `compare`, `flag` and `review`, as a person or a program calls them, on recorded runs."""

import csv
import json
import re
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from ire_otel.cli import main
from tests.test_cli import ire_otel, one_error

GUIDE = Path(__file__).parent.parent / "docs" / "query.md"
PIPELINE = """
import ire_otel

def research(query, intent, score, source):
    with ire_otel.run(query, project_name="cobot", intent=intent, domain="robotics", report_type="market") as run:
        with ire_otel.stage("intake"):
            ire_otel.decide("classified_intent", what=intent, why="the wording", confidence=0.8, component="Intake")
        with ire_otel.stage("collection") as collection:
            ire_otel.decide("source_selection", what=source, why="\\x1b[2J has the freshest reports", component="C")
            kept, filtered = ("u1", "u2") if source == "exa" else ("u2", "u1")
            collection.evidence(kept=[{"url": kept}], filtered_out=[{"url": filtered, "reason": "too old"}])
        with ire_otel.stage("synthesis") as synthesis:
            synthesis.prompts(system_prompt=f"Use {source}.\\nBe brief.")
        with ire_otel.stage("quality_gate") as gate:
            gate.score("META-12", score, name="Source Attribution")
            gate.verdict(passed=score >= 2, overall_score=score, threshold=2.0)

research("Are cobots winning?", "validating", 1, "exa")
research("Are cobots winning?", "validating", 3, "reddit")
research("What are cobots?", "exploring", 1, "exa")
assert ire_otel.flush(timeout=20)
"""


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Give a folder in which the pipeline has run."""
    subprocess.run([sys.executable, "-c", PIPELINE], cwd=tmp_path, check=True, timeout=60)
    return tmp_path


def as_json(folder: Path, *arguments: str) -> Any:
    """Give what a command prints as JSON."""
    outcome = ire_otel(folder, *arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out)


def as_csv(folder: Path, *arguments: str) -> list[dict[str, str]]:
    """Give what a command prints as CSV."""
    outcome = ire_otel(folder, *arguments, "--csv")
    assert (outcome.code, outcome.err) == (0, "")
    return list(csv.DictReader(StringIO(outcome.out)))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run a command that succeeds, in this process: starting one takes longer than any of them."""
    monkeypatch.setattr(sys, "argv", ["ire-otel", *arguments])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()


def test_each_question_is_a_command(
    recorded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a table, as JSON and as CSV, with the same runs in the same order."""
    monkeypatch.chdir(recorded)
    monkeypatch.setenv("COLUMNS", "160")

    def printed(*arguments: str) -> str:
        call(monkeypatch, *arguments)
        return capsys.readouterr().out

    ids = [run["trace_id"] for run in json.loads(printed("runs", "--json"))]
    assert len(ids) == 3
    for arguments, expected in (
        (("intent", "validating"), ids[1:]),
        (("domain", "robotics", "--limit", "2"), ids[:2]),
        (("project", "cobot", "--since", "1h"), ids),
        (("project", "cobot", "--until", "1h"), []),
        (("principle", "META-12"), [ids[0], ids[2]]),
        (("principle", "META-12", "--threshold", "1"), []),
        (("failures",), [ids[0], ids[2]]),
        (("flagged",), []),
        (("search", "cobots", "fresh*"), ids),
        (("search", '"what are"'), ids[:1]),
    ):
        table = printed("query", *arguments)
        assert [trace_id for trace_id in ids if trace_id in table] == expected, arguments
        assert [run["trace_id"] for run in json.loads(printed("query", *arguments, "--json"))] == expected
        rows = list(csv.DictReader(StringIO(printed("query", *arguments, "--csv"))))
        assert [row["trace_id"] for row in rows] == expected
        assert all(isinstance(json.loads(row["gap_principles"]), list) for row in rows)


def test_patterns_and_summary(recorded: Path) -> None:
    """Numbers over many runs, in each form."""
    pattern = {"principle_id": "META-12", "fail_count": 2, "avg_score": pytest.approx(5 / 3), "total_runs": 3}
    assert as_json(recorded, "query", "patterns", "--min-runs", "2") == [pattern]
    (row,) = as_csv(recorded, "query", "patterns", "--min-runs", "2")
    assert (row["principle_id"], row["fail_count"]) == ("META-12", "2")
    assert "META-12" in ire_otel(recorded, "query", "patterns", "--min-runs", "2").out
    assert ire_otel(recorded, "query", "patterns", "--min-runs", "3").out == "nothing matches\n"
    assert as_json(recorded, "query", "summary")["qg_failed"] == 2
    assert as_csv(recorded, "query", "summary", "--until", "1h")[0]["total_runs"] == "0"
    assert "total runs" in ire_otel(recorded, "query", "summary").out


def test_compare(recorded: Path) -> None:
    """The picture begins with what differed first; JSON has everything."""
    other, run = [run["trace_id"] for run in as_json(recorded, "query", "intent", "validating")]
    found = as_json(recorded, "compare", run, other)
    assert found["diff"]["quality_delta"] == 2.0
    assert found["decisions"]["first_difference"]["decision"] == "source_selection"
    outcome = ire_otel(recorded, "compare", run, other.split("_")[2][:12])
    assert outcome.code == 0
    for words in (
        "decisions: 1 alike, 1 different",
        "first → collection: source_selection",
        "what: exa",
        "→ reddit",
        "1 → 3     META-12 Source Attribution",
        "kept in a, filtered in b: too old  u1",
        "kept in b, filtered in a: too old  u2",
        "-Use exa.",
        "+Use reddit.",
    ):
        assert words in outcome.out
    assert "\x1b" not in outcome.out
    assert as_csv(recorded, "compare", run, other) == [
        {"id": "META-12", "name": "Source Attribution", "score_a": "1", "score_b": "3", "delta": "2.0"}
    ]


def test_compare_without_a_trace_file(recorded: Path) -> None:
    """The rows are compared, and the missing file is named."""
    for path in recorded.glob("brain/projects/*/_traces/*.json"):
        path.unlink()
    outcome = ire_otel(recorded, "compare", "last", "last")
    assert outcome.code == 0
    assert "quality score" in outcome.out
    assert "trace file of a" in outcome.out
    assert "decisions" not in outcome.out


def test_flag_and_review(recorded: Path) -> None:
    """A flag and a note are there for the next one who looks."""
    run = as_json(recorded, "runs")[0]["trace_id"]
    assert ire_otel(recorded, "review").out == f"{run}: nobody said anything yet\n"
    assert ire_otel(recorded, "flag", "last", "--who", "ada").out == f"{run} is flagged for review\n"
    assert [found["trace_id"] for found in as_json(recorded, "query", "flagged")] == [run]
    shown = ire_otel(recorded, "review", run, "--note", "thin \x1b[2J sources", "--who", "grace").out
    assert "ada  flag: " in shown
    assert "grace  note: thin �[2J sources" in shown
    assert ire_otel(recorded, "flag", run, "--off").out == f"{run} is no longer flagged for review\n"
    said = as_json(recorded, "review", run)
    assert [entry["kind"] for entry in said] == ["flag", "note", "flag"]
    assert as_json(recorded, "flag", run) == [{"trace_id": run, "flagged_for_review": True}]
    assert ire_otel(recorded, "flag", run, "--off", "--csv").out == f"trace_id,flagged_for_review\n{run},false\n"
    assert ire_otel(recorded, "review", run, "--csv").out.startswith("kind,when,who,data\nflag,")
    assert "no run is flagged" in ire_otel(recorded, "query", "flagged").out


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("query", "intents"), 2, "intents"),
        (("query", "intent", "x", "--limit", "0"), 2, "--limit"),
        (("query", "intent", "x", "--until", "tomorrow"), 2, "'--until': 'tomorrow'"),
        (("query", "principle", "META-1", "--threshold", "low"), 2, "--threshold"),
        (("query", "summary"), 1, "no database at"),
        (("compare", "a", "b"), 1, "no database at"),
        (("flag", "last"), 1, "no database at"),
        (("flag",), 2, "trace_id"),
        (("review", "--note", "x"), 1, "no database at"),
    ],
)
def test_a_wrong_call_is_one_line(tmp_path: Path, arguments: tuple[str, ...], code: int, named: str) -> None:
    """With the value, and what to do."""
    assert named in one_error(ire_otel(tmp_path, *arguments), code)


def test_an_unknown_run_is_one_line(recorded: Path) -> None:
    """In each command that takes one."""
    for arguments in (("compare", "last", "nope"), ("flag", "nope"), ("review", "nope")):
        assert "no run 'nope'" in one_error(ire_otel(recorded, *arguments), 1)
    assert "give words" in one_error(ire_otel(recorded, "review", "--note", " "), 1)


@pytest.mark.skipif(not GUIDE.is_file(), reason="needs the checkout, not an installed wheel")
def test_the_guide_works(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands and its Python code run as they stand."""
    monkeypatch.chdir(recorded)
    guide = GUIDE.read_text(encoding="utf-8")
    (commands,) = re.findall(r"```bash\n(.*?)```", guide, re.DOTALL)
    for command in commands.splitlines():
        program, *arguments = shlex.split(command)
        assert program == "ire-otel"
        call(monkeypatch, *arguments)
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "Are cobots winning?" in done.stdout
    assert "META-12 2 of 3" in done.stdout
