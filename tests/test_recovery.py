"""What a process that died has left becomes files and rows, each run once."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import ire_otel
from ire_otel import semconv, settings
from ire_otel.journal import spool
from ire_otel.outbox import Outbox
from ire_otel.recovery import Recovery
from ire_otel_exporters.otlp import from_otlp
from ire_otel_exporters.research import ResearchExporter
from tests.children import Child
from tests.databases import free_port
from tests.otlp_sink import Sink, receiving
from tests.runs import decisions, document, documents, stored_rows, wait_until

STATE = Path("brain/_spool")
SECRET = f"sk-ant-api03-{'a1B2' * 20}"


def killed(count: int = 3) -> str:
    """Let a process die in the middle of a run; gives the run's id."""
    child = Child(brain_dir="brain")
    trace_id: str = child.do("run", "why?")
    child.do("stage", "intake")
    for number in range(count):
        child.do("decide", number, 100)
    child.kill()
    return trace_id


def recovered() -> list[str]:
    """Recover as `ire-otel recover` does; gives the runs that were written."""
    exporter = ResearchExporter(settings.load())
    recovery = Recovery(settings.load(), exporter)
    made = list(recovery.steps(recovery.pending()))
    exporter.shutdown()
    return [run_id for one in made for run_id in one.run_ids]


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ire-otel")
    environment = {**os.environ, **variables}
    return subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip


def test_a_killed_run_becomes_an_incomplete_document_and_row() -> None:
    """With every decision whose call had returned, and the reason why it ends there."""
    trace_id = killed(5)
    assert recovered() == [trace_id]
    made = document()
    assert decisions(made, "intake") == ["numbered"] * 5
    assert (made.run.status, made.metadata.recovered, made.run.completed_at) == ("incomplete", True, None)
    assert made.run.error is not None
    assert made.run.error.endswith(" was killed")
    (row,) = stored_rows()
    assert (row["trace_id"], row["status"], row["error"]) == (trace_id, "incomplete", made.run.error)


def test_each_run_is_recovered_once() -> None:
    """A second recovery finds nothing."""
    killed()
    assert len(recovered()) == 1
    written = document()
    assert recovered() == []
    assert document() == written


def test_two_recoveries_at_once_share_the_work() -> None:
    """Nobody waits for the other, and each run is there once."""
    runs = {killed(1) for _ in range(6)}
    done: list[str] = []
    threads = [threading.Thread(target=lambda: done.extend(recovered())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(runs)
    assert {made.trace_id for made in documents()} == runs


def test_the_next_start_recovers_in_the_background() -> None:
    """Without anybody asking."""
    trace_id = killed()
    ire_otel.configure()
    wait_until(lambda: [row["trace_id"] for row in _rows()] == [trace_id])
    assert document().metadata.recovered is True


def test_a_run_that_goes_on_is_left_alone() -> None:
    """Its process lives, and writes it when it ends."""
    child = Child(brain_dir="brain")
    child.do("run", "q")
    child.do("decide", 1, 10)
    assert recovered() == []
    child.do("end_run")
    assert child.do("flush")
    assert document().metadata.recovered is not True
    assert document().run.status == "complete"
    child.leave()


def test_a_run_that_ended_before_its_process_died_is_complete() -> None:
    """Nobody had written it yet."""
    Path("brain").mkdir()
    Path("brain/projects").write_text("in the way")
    child = Child(brain_dir="brain")
    child.do("run", "q")
    child.do("decide", 1, 10)
    child.do("end_run")
    child.do("flush")
    child.kill()
    assert len(recovered()) == 1
    assert list(Path("brain").glob("projects/**/*.json")) == []
    Path("brain/projects").unlink()
    assert len(recovered()) == 1
    assert (document().run.status, document().metadata.recovered) == ("complete", True)


def test_what_is_safe_is_taken_away_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before late spans have had their time."""
    killed()
    recovered()
    assert len(spool.processes(STATE)) == 1
    monkeypatch.setenv("IRE_OTEL_SETTLE_AFTER", "0")
    recovered()
    assert spool.processes(STATE) == []


def test_the_command_tells_what_it_finds() -> None:
    """A dry run changes nothing; the exit code says whether something is left."""
    trace_id = killed(4)
    dry = command("recover", "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout == (
        f"{trace_id}: would be written (4 decisions)\n1 runs to recover, 0 rows wait for their database\n"
    )
    assert documents() == []
    report: dict[str, Any] = json.loads(command("recover", "--json").stdout)
    assert [outcome["trace_id"] for made in report["traces"] for outcome in made["runs"]] == [trace_id]
    assert (report["rows_left"], report["problems"]) == (0, [])
    again = command("recover")
    assert (again.returncode, again.stdout.startswith("0 runs recovered")) == (0, True)


def test_rows_wait_for_their_database_across_processes() -> None:
    """The file is written; `ire-otel recover` writes the row once there is a database."""
    ire_otel.configure(database_url="postgresql://nobody@127.0.0.1:1/none")
    result = ire_otel.finish_sync(ire_otel.run("q", project_name="cobot"))
    assert result["supabase"].startswith("queued: ")
    ire_otel.shutdown(30)
    still = command("recover", IRE_OTEL_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert still.returncode == 1
    assert "rows still wait for the database: Postgres at 127.0.0.1:1" in still.stdout
    assert len(Outbox(STATE)) == 1
    done = command("recover")
    assert (done.returncode, "1 waiting rows written, 0 left" in done.stdout) == (0, True)
    assert [row["trace_id"] for row in stored_rows()] == [result["trace_id"]]
    assert len(Outbox(STATE)) == 0


def test_rows_that_nobody_refreshes_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on by its row, whose journal is not on this machine, was cut short."""
    child = Child(brain_dir="brain")
    trace_id = child.do("run", "q")
    child.do("stage", "synthesis")
    wait_until(lambda: [row["status"] for row in _rows()] == ["in_progress"])
    assert [row["current_stage"] for row in _rows()] == ["synthesis"]
    exporter = ResearchExporter(settings.load({"settle_after": 0.0}))
    assert exporter.settle_unfinished({trace_id}) == 0
    child.kill()
    assert exporter.settle_unfinished(set()) == 1
    (row,) = _rows()
    assert (row["status"], row["current_stage"]) == ("incomplete", None)
    exporter.shutdown()


def test_others_get_the_spans_that_never_ended() -> None:
    """A trace in Jaeger then has its run and stage: with their own ids, marked, redacted, and sent once."""
    trace_id = killed_with_a_secret()
    with receiving() as sink:
        made = command("recover", IRE_OTEL_EXPORTERS="ire,otlp", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
        assert (made.returncode, made.stderr) == (0, "")
        check_sent(sink, trace_id)
        sink.bodies.clear()
        command("recover", IRE_OTEL_EXPORTERS="ire,otlp", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
        assert sink.bodies == []


def test_the_next_start_sends_the_spans_that_never_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the exporters that it is configured with."""
    trace_id = killed_with_a_secret()
    with receiving() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
        ire_otel.configure(exporters=["ire", "otlp"])
        wait_until(documents)
        ire_otel.shutdown()
        check_sent(sink, trace_id)


def test_spans_that_nobody_takes_are_sent_by_the_next_recovery() -> None:
    """Nothing else waits for that: file and row are written."""
    trace_id = killed_with_a_secret()
    variables = {"IRE_OTEL_EXPORTERS": "ire,otlp", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    made = command("recover", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}", **variables)
    assert made.returncode == 1
    assert "OTLPSpanExporter did not take 2 spans; the next recovery sends them" in made.stdout
    assert document().trace_id == trace_id
    with receiving() as sink:
        assert command("recover", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, **variables).returncode == 0
        check_sent(sink, trace_id)


def killed_with_a_secret() -> str:
    """Let a process die with a run and its second stage open."""
    child = Child(brain_dir="brain")
    trace_id: str = child.do("run", f"why {SECRET}?")
    child.do("stage", "intake")
    child.do("end_stage")
    child.do("stage", "collection")
    child.do("decide", 1, 10)
    child.kill()
    return trace_id


def check_sent(sink: Sink, trace_id: str) -> None:
    """Check that a sink got the run and its open stage, and nothing else."""
    spans = {span.name: span for request in sink.requests for span in from_otlp(request)}
    assert spans.keys() == {"research_run", "collection"}
    run, stage = spans["research_run"], spans["collection"]
    assert (run.parent_span_id, stage.parent_span_id) == (None, run.span_id)
    assert run.attributes[semconv.RUN_ID] == stage.attributes[semconv.RUN_ID] == trace_id
    assert trace_id.endswith(run.span_id)
    assert run.attributes[semconv.RUN_RECOVERED] is stage.attributes[semconv.RUN_RECOVERED] is True
    assert [event.name for event in stage.events] == ["decision: numbered"]
    assert run.status == stage.status == "ERROR"
    assert "was killed" in str(run.status_description)
    assert run.end_ns == stage.end_ns == stage.events[0].time_ns
    assert not any(SECRET.encode() in body for body in sink.bodies)


def _rows() -> list[dict[str, Any]]:
    return stored_rows() if Path("brain/traces.db").exists() else []


def test_no_secret_stays_in_a_journal_that_was_recovered() -> None:
    """It is written anew without them, and late parts of its runs still find the rest."""
    child = Child(brain_dir="brain")
    trace_id: str = child.do("run", f"why {SECRET}?")
    child.do("stage", "intake")
    child.do("decide", 1, 10)
    child.kill()
    (folder,) = spool.processes(STATE)
    assert any(SECRET.encode() in path.read_bytes() for path in folder.iterdir())
    assert recovered() == [trace_id]
    assert not any(SECRET.encode() in path.read_bytes() for path in Path("brain").rglob("*") if path.is_file())
    before = document()
    exporter = ResearchExporter(settings.load())
    made = Recovery(settings.load(), exporter).settle(before.metadata.otel_trace_id, folder)
    exporter.shutdown()
    assert made.run_ids == [trace_id]
    assert document() == before
