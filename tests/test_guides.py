"""The guides' code runs as it stands, and does what the words around it say."""

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="needs the checkout, not an installed wheel")


def blocks(guide: str, language: str) -> list[str]:
    """Give the code blocks of a guide, in order."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / guide).read_text(encoding="utf-8"), re.DOTALL)


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def run_tests(folder: Path) -> subprocess.CompletedProcess[str]:
    return run("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=folder)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """The engine of the retrofit guide after all steps, and its test."""
    *steps, test = blocks("retrofit.md", "python")
    assert test.startswith("# test_engine.py\n")
    (tmp_path / "engine.py").write_text("\n\n".join(steps), encoding="utf-8")
    (tmp_path / "test_engine.py").write_text(test, encoding="utf-8")
    return tmp_path


def test_the_engine_of_the_retrofit_guide_runs_after_every_step(tmp_path: Path) -> None:
    """Each step leaves a working engine with the same answer; the first run is in a file after step 1."""
    *steps, _ = blocks("retrofit.md", "python")
    answer = "\nprint(ResearchOrchestrator().research('how many bees'))\n"
    answers = set()
    for number in range(1, len(steps) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = run("-c", "\n\n".join(steps[:number]) + answer, folder=folder)
        assert done.returncode == 0, done.stderr
        answers.add(done.stdout)
        written = list(folder.glob("brain/projects/bees/_traces/trc_*.json"))
        assert len(written) == (0 if number == 1 else 1)
    assert len(answers) == 1
    assert answers.pop().count("[https://") == 2


def test_the_retrofitted_engine_passes_the_guides_test(engine: Path) -> None:
    """Step 5."""
    done = run_tests(engine)
    assert "6 passed" in done.stdout, done.stdout + done.stderr
    assert not (engine / "brain").exists()


def test_the_guide_shows_the_failure_as_it_is(engine: Path) -> None:
    """The text under step 5 is what pytest prints once the scorer declares another decision than it takes."""
    (shown,) = blocks("retrofit.md", "text")
    program = engine / "engine.py"
    declared = '{"decisions": ["filter_decision"]}'
    text = program.read_text(encoding="utf-8")
    assert text.count(declared) == 1
    program.write_text(text.replace(declared, '{"decisions": ["filter_rule"]}'), encoding="utf-8")
    done = run_tests(engine)
    assert "1 failed, 5 passed" in done.stdout, done.stdout + done.stderr
    failure = [line.removeprefix("E").strip() for line in done.stdout.splitlines() if line.startswith("E ")]
    failure[0] = failure[0].removeprefix("AssertionError: ")
    assert failure == [line.strip() for line in shown.splitlines()]


def test_the_example_of_the_testing_page_passes(tmp_path: Path) -> None:
    """Engine and test in one file."""
    (example,) = blocks("testing.md", "python")
    (tmp_path / "test_example.py").write_text(example, encoding="utf-8")
    done = run_tests(tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "brain").exists()


@pytest.mark.slow
def test_every_command_of_the_calibration_tutorial_runs(tmp_path: Path) -> None:
    """In their order, in one folder; and META-12 fails only where citations are grouped, as the words say."""
    commands = [line for block in blocks("calibrate.md", "sh") for line in block.splitlines() if line]
    assert len(commands) > 15
    printed = {}
    wide = {**os.environ, "COLUMNS": "160"}
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "ire-otel"
        script = str(Path(sys.executable).with_name(name))
        done = subprocess.run([script, *arguments], cwd=tmp_path, env=wide, capture_output=True, text=True, check=False)
        assert done.returncode == 0, command + done.stderr
        printed[command] = done.stdout
    # Where in the list it stands depends on the corpus, and so on the packages that are installed.
    (grouped,) = (line for line in printed["ire-otel query decisions META-12"].splitlines() if " grouped " in line)
    _style, _what, _runs, fail_rate, _others, others_fail_rate, *_ = grouped.split()
    assert float(others_fail_rate) == 0 < float(fail_rate)
    (question,) = blocks("calibrate.md", "sql")
    with sqlite3.connect(tmp_path / "brain" / "traces.db") as database:
        failed = {what: share for what, _, _, share in database.execute(question)}
    assert failed["inline"] == 0 < failed["grouped"]
