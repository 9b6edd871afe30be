"""Tracing never harms the run it watches: the pipeline behaves as without it, and what could be recorded is there."""

import asyncio
import logging
import subprocess
import sys
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import ire_otel
from ire_otel import reader
from ire_otel.outbox import Outbox
from tests.runs import decision, decisions, document, rows, stored_rows, wait_until


async def test_a_cancelled_pipeline_is_cancelled_and_recorded() -> None:
    """CancelledError passes; stage and run are marked with it."""

    @ire_otel.traced_stage("collection")
    async def collect() -> None:
        ire_otel.decide("started", what=1, why="y")
        await asyncio.sleep(60)

    @ire_otel.traced_run(project_name="cobot")
    async def research(query: str) -> None:
        await collect()

    task = asyncio.create_task(research("q"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    made = document()
    assert (made.run.status, made.run.error) == ("incomplete", "CancelledError")
    assert made.stages["collection"].error == "CancelledError"
    assert decisions(made, "collection") == ["started"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_exceptions_that_are_no_errors_pass_too(error: BaseException) -> None:
    """KeyboardInterrupt and SystemExit mark the run; the very same object arrives."""
    with pytest.raises(type(error)) as caught, ire_otel.run(query="q"):
        raise error
    assert caught.value is error
    expected = "complete" if isinstance(error, GeneratorExit) else "incomplete"
    assert document().run.status == expected


def test_a_process_that_exits_in_the_middle_of_a_stage_leaves_its_run(tmp_path: Path) -> None:
    """sys.exit inside a stage: same exit code, and the run is written at exit."""
    program = (
        "import sys, ire_otel\n"
        "trace = ire_otel.TraceContext.start(query='q', project_name='cobot')\n"
        "trace.start_stage('intake')\n"
        "ire_otel.decide('early', what=1, why='y')\n"
        "sys.exit(7)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "", "")
    made = document()
    assert made.run.status == "incomplete"
    assert decisions(made, "intake") == ["early"]
    assert len(rows()) == 1


class Colour(Enum):
    RED = "red"


class Opaque:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

ODD_VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (float("nan"), None),
    (float("inf"), None),
    ([float("nan"), 1], [None, 1]),
    (2**80, str(2**80)),
    ({"big": 2**80, 3: "three"}, {"big": str(2**80), "3": "three"}),
    ("lone \ud800 surrogate", "lone \ufffd surrogate"),
    (["\ud800"], ["\ufffd"]),
    ("nul \x00 byte", "nul \x00 byte"),
    ('{"looks": "like JSON"', '{"looks": "like JSON"'),
    ('["is", "JSON"]', '["is", "JSON"]'),
    ('"quoted"', '"quoted"'),
    (Decimal("1.50"), "1.50"),
    (UUID(int=5), str(UUID(int=5))),
    (Path("a/b"), "a/b"),
    (Colour.RED, "red"),
    ({"b", "a"}, ["a", "b"]),
    (b"\xff\x00", "/wA="),
    ((1, (2,)), [1, [2]]),
]


@pytest.mark.parametrize(("value", "kept"), ODD_VALUES, ids=[repr(kept)[:30] for _, kept in ODD_VALUES])
def test_odd_values_survive_as_valid_json(value: Any, kept: Any) -> None:
    """As `what`, inside inputs, as a prompt, and in outputs."""
    with ire_otel.run(query="q") as trace, ire_otel.stage("intake") as stage:
        ire_otel.decide("odd", what=value, why="to see", inputs={"value": value})
        stage.prompts(odd=value)
        stage.set_outputs({"value": value})
        trace.set_outputs({"value": value})
    made = document()
    taken = decision(made, "intake", "odd")
    inner = None if kept is None else kept
    assert taken.what == kept
    assert taken.inputs == {"value": inner}
    assert made.stages["intake"].outputs == {"value": inner}
    assert made.outputs == {"value": inner}
    assert len(rows()) == 1


@pytest.mark.parametrize("value", [Opaque(), CYCLE, object(), (number for number in range(3)), lambda: None])
def test_what_has_no_json_form_is_marked(value: Any) -> None:
    """Its repr with a marker; a generator is not consumed."""
    with ire_otel.run(query="q"):
        ire_otel.decide("odd", what=value, why="to see", inputs={"value": value})
    assert "$repr" in str(decision(document(), "run", "odd").inputs)
    if hasattr(value, "__next__"):
        assert list(value) == [0, 1, 2]


def test_what_changes_after_the_call_changes_nothing() -> None:
    """Entries are encoded inside the call."""
    inputs = {"list": [1]}
    with ire_otel.run(query="q"):
        ire_otel.decide("kept", what=inputs["list"], why="y", inputs=inputs)
        inputs["list"].append(2)
        inputs["new"] = [3]
    taken = decision(document(), "run", "kept")
    assert (taken.what, taken.inputs) == ([1], {"list": [1]})


def test_bad_input_is_recorded_as_well_as_it_goes_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Wrong types never raise; the document says what was wrong."""
    with caplog.at_level(logging.WARNING, "ire_otel"), ire_otel.run(query="q") as trace:
        for _ in range(3):
            ire_otel.decide("percent", what=1, why="y", confidence=85)
        ire_otel.decide("words", what=1, why="y", confidence="high")  # type: ignore[arg-type] # the mistake
        ire_otel.decide("text", what=1, why="y", confidence="0.5", alternatives="one")  # type: ignore[arg-type] # as above
        ire_otel.decide("unknown", what=1, because="no such argument")
        ire_otel.decide(17, what=1, why=None, inputs=[1, 2])  # type: ignore[arg-type] # as above
        trace.record("intake", "no_mapping", "just text")  # type: ignore[arg-type] # as above
        trace.record_iteration(3)  # type: ignore[arg-type] # as above
        trace.set_outputs(["a"])  # type: ignore[arg-type] # as above
        with ire_otel.stage("quality_gate") as gate:
            gate.score("META-1", "good")  # type: ignore[arg-type] # as above
    made = document()
    found = {taken.decision: taken for taken in made.stages["run"].decisions}
    assert (found["percent"].confidence, found["words"].confidence, found["text"].confidence) == (None, None, 0.5)
    assert found["text"].alternatives_considered == ["one"]
    assert found["unknown"].inputs == {"because": "no such argument"}
    assert found["17"].inputs == [1, 2]
    assert decision(made, "intake", "no_mapping").what == "just text"
    assert (made.iterations, made.outputs) == ([{"value": 3}], {"value": ["a"]})
    assert any("85" in warning for warning in made.metadata.warnings)
    assert any("'good'" in warning for warning in made.metadata.warnings)
    assert sum("85" in record.message for record in caplog.records) == 1


def test_recording_outside_a_run_warns_once_and_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Decide and stage outside a run; a decorated stage just runs."""

    @ire_otel.traced_stage("intake")
    def intake() -> int:
        return 5

    with caplog.at_level(logging.WARNING, "ire_otel"):
        for _ in range(3):
            ire_otel.decide("lost", what=1, why="y")
            assert intake() == 5
    assert sum("decide('lost') outside a run" in record.message for record in caplog.records) == 1
    assert ire_otel.current_run() is None
    assert ire_otel.current_stage() is None
    assert not Path("brain").exists()


def test_decisions_after_the_end_of_a_run_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Through a trace or stage that somebody still holds: the document is written again."""
    with caplog.at_level(logging.WARNING, "ire_otel"), ire_otel.run(query="q") as trace:
        with ire_otel.stage("intake") as stage:
            pass
        ire_otel.decide("in_time", what=1, why="y")
    assert ire_otel.flush(30)
    stage.decide("late", what=1, why="y")
    trace.record("run", "late_too", {"what": 1})
    made = document()
    assert decisions(made, "run") == ["in_time", "late_too"]
    assert decisions(made, "intake") == ["late"]
    assert len(rows()) == 1


def test_a_forgotten_end_stage_is_ended_with_the_run() -> None:
    """Its decisions, outputs and a warning are there."""
    with ire_otel.run(query="q") as trace:
        trace.start_stage("synthesis")
        ire_otel.decide("inside", what=1, why="y")
    made = document()
    assert made.run.status == "complete"
    assert made.stages["synthesis"].completed_at is not None
    assert any("synthesis was still open" in warning for warning in made.metadata.warnings)
    assert ire_otel.current_stage() is None


def test_internal_errors_are_logged_once_and_swallowed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks inside ire-otel: the pipeline goes on."""
    monkeypatch.setenv("IRE_OTEL_RAISE", "")
    from ire_otel.recording import facts

    def broken(*_: Any) -> dict[str, Any]:
        raise RuntimeError("inside")

    monkeypatch.setattr(facts, "decision", broken)
    monkeypatch.setattr(facts, "evidence", broken)
    with caplog.at_level(logging.ERROR, "ire_otel"), ire_otel.run(query="q"), ire_otel.stage("intake") as stage:
        ire_otel.decide("lost", what=1, why="y")
        ire_otel.decide("lost", what=1, why="y")
        stage.evidence(kept=[])
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [
        "ire-otel failed while recording a decision; the run goes on",
        "ire-otel failed while recording evidence; the run goes on",
    ]
    assert document().run.status == "complete"


def test_a_folder_that_cannot_be_written_costs_the_file_until_it_can(caplog: pytest.LogCaptureFixture) -> None:
    """One logged error, and the row says that there is no file; with the way free again, there is one."""
    Path("brain").mkdir()
    Path("brain/projects").write_text("in the way")
    with ire_otel.run(query="q") as trace:
        pass
    with caplog.at_level(logging.ERROR, "ire_otel"):
        result = ire_otel.finish_sync(trace)
    assert "brain/projects" in result["file_error"]
    assert result["supabase"] == "saved"
    assert not ire_otel.flush(30)
    (row,) = stored_rows()
    assert row["trace_file_path"] is None
    Path("brain/projects").unlink()
    wait_until(lambda: ire_otel.flush(30))
    (row,) = rows()
    assert Path(row["trace_file_path"]).is_file()


def test_a_database_that_cannot_be_reached_costs_the_row_only() -> None:
    """The file is written all the same, and the row waits."""
    ire_otel.configure(database_url="postgresql://nobody@127.0.0.1:1/none")
    with ire_otel.run(query="q") as trace:
        pass
    result = ire_otel.finish_sync(trace)
    assert result["supabase"].startswith("queued: ")
    assert "127.0.0.1:1" in result["supabase"]
    assert not ire_otel.flush(30)
    assert Path(result["file_path"]).is_file()
    assert [waiting.trace_id for waiting in Outbox(Path("brain/_spool")).waiting()] == [trace.trace_id]


def test_a_richer_document_is_never_replaced_by_a_poorer_one() -> None:
    """The file sink looks at how many records a document was made from."""
    from ire_otel_exporters import trace_file

    with ire_otel.run(query="q"):
        ire_otel.decide("one", what=1, why="y")
    made = document()
    path = Path(rows()[0]["trace_file_path"])
    before = path.read_bytes()
    assert not trace_file.write(path, b"{}", made.metadata.records - 1)
    assert path.read_bytes() == before
    assert trace_file.write(path, before, made.metadata.records)
    assert reader.decode(path.read_bytes(), str(path)) == made


@pytest.mark.parametrize("name", ["../../escape", "a/b", "..", "con", "Zürich\x00", "x" * 300, " "])
def test_project_names_never_leave_the_brain_folder(name: str, tmp_path: Path) -> None:
    """And two names never share a folder."""
    for project in (name, f"{name} "):
        with ire_otel.run(query="q", project_name=project):
            pass
    assert ire_otel.flush(30)
    files = list(tmp_path.rglob("trc_*.json"))
    assert len(files) == 2
    assert all(file.is_relative_to(tmp_path / "brain" / "projects") for file in files)
    assert len({file.parent for file in files}) == 2


async def test_an_exporter_that_cannot_be_made_costs_the_run_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What finish returns says what went wrong, and the process goes on."""
    from ire_otel_exporters import rows as row_writer

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(row_writer, "RunStore", broken)
    async with ire_otel.TraceContext.start(query="q") as trace:
        pass
    result = await ire_otel.TraceContext.finish(trace)
    assert result["file_error"] == result["supabase_error"] == "RuntimeError: no memory"
    assert not ire_otel.flush(10)
    assert "no memory" in caplog.text
