"""Runs that go on: listed and shown while a real process has them open, followed until they end or it dies."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ire_otel import live_runs
from ire_otel.db.store import RunStore
from ire_otel.row import row
from ire_otel.settings import Settings
from tests.live_pipelines import Pipeline, pipeline
from tests.runs import wait_until
from tests.sample_document import sample_document
from tests.test_cli import ire_otel, one_error

AWAY = {"IRE_OTEL_DATABASE_URL": "postgresql://ire:secret@127.0.0.1:9/ire"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline with an open run in the test's folder."""
    with pipeline(tmp_path) as made:
        yield made


def listed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    outcome = ire_otel(folder, "runs", "--live", "--json", *arguments)
    assert outcome.code == 0, outcome
    found: list[dict[str, Any]] = json.loads(outcome.out)
    return found


@contextlib.contextmanager
def following(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `ire-otel show --follow`, without a terminal."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"IRE_OTEL_RAISE", "COLUMNS"}}
    program = Path(sys.executable).with_name("ire-otel")
    with subprocess.Popen(
        [program, "show", "--follow", *arguments],
        cwd=folder,
        env=inherited,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_may_be_interrupted,  # noqa: PLW1509 # takes no lock
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _may_be_interrupted() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, tests and all."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def lines_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    """Read what is printed, up to the line that holds `wanted`."""
    assert process.stdout is not None
    read = []
    for line in process.stdout:
        read.append(line)
        if wanted in line:
            return read
    raise AssertionError((wanted, read))


def in_progress(folder: Path, number: int, started_at: str) -> str:
    """Write the row of a run that goes on in a process of another machine; give its trace_id."""
    document = sample_document(number, status="in_progress", started_at=started_at, completed_at=None, stages={})
    store = RunStore(Settings(brain_dir=folder / "brain").database_url)
    assert store.save([row(document, None)]) == {}
    store.close()
    return document.trace_id


def test_a_run_that_goes_on_is_listed(running: Pipeline, tmp_path: Path) -> None:
    """With its stage, its decisions so far, and for how long it has gone on."""
    (found,) = listed(tmp_path)
    since = found.pop("since_seconds")
    assert 0 < since < 60
    assert found.pop("started_at").endswith("Z")
    assert found == {
        "trace_id": running.trace_id,
        "project_name": "cobot",
        "stage": "synthesis",
        "decisions": 2,
        "query": "Are cobots winning?",
        "here": True,
    }
    running.do("ire_otel.decide('third', what=1, why='more')")
    outcome = ire_otel(tmp_path, "runs", "--live")
    heading, line = outcome.out.splitlines()
    assert heading.split() == ["trace_id", "started", "project", "stage", "decisions", "since", "query"]
    assert line.split()[0] == running.trace_id
    assert line.split()[4:6] == ["synthesis", "3"]
    running.end()
    assert listed(tmp_path) == []
    assert ire_otel(tmp_path, "runs", "--live").out == "no run goes on\n"


def test_filters_choose_among_them(running: Pipeline, tmp_path: Path) -> None:
    """As among recorded runs; a status that says that a run has ended cannot be asked for."""
    for filters in (("--project", "cobot"), ("--intent", "validating"), ("--domain", "robotics"), ("--since", "1h")):
        assert [run["trace_id"] for run in listed(tmp_path, *filters)] == [running.trace_id]
    for filters in (("--project", "garden"), ("--intent", "learning"), ("--since", "2999-01-01")):
        assert listed(tmp_path, *filters) == []
    assert "--live" in one_error(ire_otel(tmp_path, "runs", "--live", "--status", "failed"), 2)


def test_without_a_database_the_journals_tell(running: Pipeline, tmp_path: Path) -> None:
    """One line says that runs of other machines are missing, and gives no password away."""
    outcome = ire_otel(tmp_path, "runs", "--live", "--json", **AWAY)
    assert [run["trace_id"] for run in json.loads(outcome.out)] == [running.trace_id]
    assert outcome.code == 0
    assert outcome.err.count("\n") == 1
    assert "only runs of this machine" in outcome.err
    assert "secret" not in outcome.err


def test_rows_tell_of_other_machines(running: Pipeline, tmp_path: Path) -> None:
    """Newest first; a run of this machine is listed once, as its journal has it, also when its process has died."""
    older, newer = (
        in_progress(tmp_path, 0xB1, "2020-02-13T10:30:00Z"),
        in_progress(tmp_path, 0xB2, "2999-01-01T00:00:00Z"),
    )
    (here,) = live_runs.live_runs(tmp_path / "brain" / "_spool")
    seen = live_runs.look(tmp_path / "brain" / "_spool", here).document
    assert seen is not None
    store = RunStore(Settings(brain_dir=tmp_path / "brain").database_url)
    store.save([row(msgspec.structs.replace(seen, stages={}), None)])
    store.close()
    found = listed(tmp_path)
    assert [(run["trace_id"], run["here"], run["decisions"]) for run in found] == [
        (newer, False, None),
        (running.trace_id, True, 2),
        (older, False, None),
    ]
    running.kill()
    assert [run["trace_id"] for run in listed(tmp_path)] == [newer, older]
    assert "goes on by its row" in one_error(ire_otel(tmp_path, "show", older), 1)


def test_a_run_is_shown_as_far_as_it_is(running: Pipeline, tmp_path: Path) -> None:
    """By its trace_id, its beginning, or as the last run; in words, or as the document so far."""
    for wanted in ((), (running.trace_id,), (running.trace_id[-16:-4],)):
        outcome = ire_otel(tmp_path, "show", *wanted)
        assert f"{running.trace_id}  in_progress" in outcome.out, outcome
        assert "prompt_construction" in outcome.out
    document = json.loads(ire_otel(tmp_path, "show", "--json", running.trace_id).out)
    assert document["run"]["status"] == "in_progress"
    assert document["stages"]["synthesis"]["completed_at"] is None
    stage = json.loads(ire_otel(tmp_path, "show", "--json", "--stage", "intake", running.trace_id).out)
    assert [decision["decision"] for decision in stage["decisions"]] == ["classified_intent"]


def test_the_last_run_is_the_one_that_began_last(running: Pipeline, tmp_path: Path) -> None:
    """A run that began later, and has ended by now, is the last one; `--follow` takes the one that goes on."""
    with pipeline(tmp_path) as later:
        later.end()
    assert f"{later.trace_id}  complete" in ire_otel(tmp_path, "show").out
    with following(tmp_path) as process:
        lines_until(process, "prompt_construction")
        running.end()
        out, _ = process.communicate(timeout=60)
    assert f"{running.trace_id}  complete" in out


def test_what_other_processes_record_is_shown_with_their_run(running: Pipeline, tmp_path: Path) -> None:
    """While both go on."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        textwrap.dedent("""
            import sys, ire_otel
            ire_otel.decide("chosen_over_there", what=1, why="told to")
            print("decided", flush=True)
            sys.stdin.read()
        """)
    )
    running.do(
        "import os, subprocess; from opentelemetry.propagate import inject; carrier = {}; inject(carrier); "
        "environment = os.environ | {name.upper(): value for name, value in carrier.items()}; "
        "worker = subprocess.Popen([sys.executable, 'worker.py'], env=environment, stdin=-1, stdout=-1); "
        "worker.stdout.readline()"
    )
    document = json.loads(ire_otel(tmp_path, "show", "--json", running.trace_id).out)
    taken = [decision["decision"] for decision in document["stages"]["synthesis"]["decisions"]]
    assert taken == ["prompt_construction", "chosen_over_there"]
    running.do("worker.stdin.close(); worker.wait()")


def test_a_run_is_followed_to_its_end(running: Pipeline, tmp_path: Path) -> None:
    """A line for all that happens, each once; then the trace file, as ever."""
    with following(tmp_path, running.trace_id) as process:
        began = lines_until(process, "prompt_construction")
        running.do("ire_otel.decide('third', what='x', why='more')")
        began += lines_until(process, "third")
        running.end()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    told = [line.split("  ", 1)[1] for line in began]
    assert told.pop(2).startswith("intake ends after ")
    assert told == [
        "intake begins\n",
        "intake: classified_intent: validating because it assumes a winner\n",
        "synthesis begins\n",
        "synthesis: prompt_construction: prompt 1 because the rubric asks for sources\n",
        "synthesis: third: x because more\n",
    ]
    news, _, shown = out.partition(f"{running.trace_id}  complete")
    assert "synthesis ends after" in news
    assert news.count("\n") == 1
    assert "third" in shown


def test_a_followed_run_can_be_had_as_json(running: Pipeline, tmp_path: Path) -> None:
    """The whole document, once it has ended."""
    with following(tmp_path, "--json") as process:
        running.end()
        out, _ = process.communicate(timeout=60)
    assert json.loads(out)["run"]["status"] == "complete"


def test_a_run_whose_process_dies_is_followed_no_longer(running: Pipeline, tmp_path: Path) -> None:
    """What to do is said, and does it."""
    with following(tmp_path, running.trace_id) as process:
        lines_until(process, "prompt_construction")
        running.kill()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"run {running.trace_id} died" in err
    assert "ire-otel recover" in err
    assert ire_otel(tmp_path, "recover").code == 0
    assert f"{running.trace_id}  incomplete" in ire_otel(tmp_path, "show", "--follow", running.trace_id).out


def test_one_stops_looking_with_ctrl_c(running: Pipeline, tmp_path: Path) -> None:
    """That is no failure, and the run goes on."""
    with following(tmp_path) as process:
        lines_until(process, "prompt_construction")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert [run["trace_id"] for run in listed(tmp_path)] == [running.trace_id]


def test_following_shows_the_whole_run(running: Pipeline, tmp_path: Path) -> None:
    """One stage alone cannot be followed."""
    assert "--follow" in one_error(ire_otel(tmp_path, "show", "--follow", "--stage", "intake"), 2)
    assert running.process.poll() is None


def test_on_a_terminal_the_picture_is_drawn_again_and_again(running: Pipeline, tmp_path: Path) -> None:
    """Also where it is higher than the terminal; in the end it stands there once, whole."""
    program = Path(sys.executable).with_name("ire-otel")
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "8"}
    environment.pop("IRE_OTEL_RAISE")
    with subprocess.Popen(
        [program, "show", "--follow"], cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        drawn = b""
        while b"in_progress" not in drawn:
            drawn += os.read(ours, 65536)
        running.do("ire_otel.decide('third', what='x', why='more')")
        running.end()
        with contextlib.suppress(OSError):  # the other side is closed
            while more := os.read(ours, 65536):
                drawn += more
        assert process.wait(60) == 0
    os.close(ours)
    assert drawn.rpartition(b"complete")[2].count(b"third") == 1


def test_journals_may_be_cut_short_while_others_read_them(tmp_path: Path) -> None:
    """As a process does with its own when it shuts down: nobody who looks at them dies of it."""
    reader = textwrap.dedent("""
        import os
        from pathlib import Path
        from ire_otel.journal.reading import JournalFolder

        with JournalFolder(Path("journals")) as journals:
            assert len(journals.summaries) == 1
            os.truncate("journals/0000.arena", 0)
            print([log.entries for log in journals.logs()])
    """)
    writer = textwrap.dedent("""
        import sys
        from pathlib import Path
        from ire_otel import runlog
        from ire_otel.journal.arena import Arenas
        from ire_otel.journal.writing import Journal

        Path("journals").mkdir()
        journal = Journal(Arenas(Path("journals")), "0")
        journal.write(runlog.encode("log", runlog.FORMAT_VERSION, "trc_1", "0" * 32, "process", {}))
    """)
    for program in (writer, reader):
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended
    assert ended.stdout == "[[]]\n"


def test_a_run_that_ended_is_not_among_those_that_go_on(tmp_path: Path) -> None:
    """Though its journal is kept for spans that come late."""
    with pipeline(tmp_path) as made:
        made.do("inner = ire_otel.run('inner', project_name='cobot'); inner.end_run(); ire_otel.flush(30)")
        spool = tmp_path / "brain" / "_spool"
        wait_until(lambda: len(live_runs.live_runs(spool)) == 1)
        assert [run.trace_id for run in live_runs.live_runs(spool)] == [made.trace_id]
