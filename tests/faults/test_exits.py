"""Every way in which a process ends, and every way in which it makes others: what was recorded is there, each once."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ire_otel.model import given
from tests.faults import programs, workers
from tests.faults.subprocesses import (
    assert_kept,
    documents,
    ended,
    ire_otel_command,
    recovered,
    run,
    sayings,
    start,
    until,
)

pytestmark = pytest.mark.faults
Program = Callable[..., None]
METHODS = ("fork", "spawn", "forkserver")


@pytest.mark.parametrize(
    ("how", "code", "status", "error"),
    [
        ("normal", 0, "complete", None),
        ("exception", 1, "incomplete", "ValueError: boom"),
        ("sys.exit", 3, "incomplete", "SystemExit: 3"),
    ],
)
def test_a_process_that_python_ends_has_written_its_run(how: str, code: int, status: str, error: str | None) -> None:
    """Nothing is left to recover."""
    process = run(programs.ending, how)
    (made,) = documents()
    assert (process.code, made.run.status, made.run.error) == (code, status, error)
    assert_kept(process, [made])
    assert ire_otel_command("recover")["traces"] == []
    assert recovered() == [made]


@pytest.mark.parametrize(
    ("how", "code", "error"),
    [("os._exit", 4, "was killed"), ("SIGKILL", -signal.SIGKILL, "was killed")],
)
def test_a_process_that_nobody_asked_has_a_journal(how: str, code: int, error: str) -> None:
    """`ire-otel recover` writes the run as incomplete."""
    process = run(programs.ending, how)
    assert process.code == code
    (made,) = recovered()
    assert made.run.status == "incomplete"
    assert error in str(made.run.error)
    assert given(made.metadata.recovered)
    assert_kept(process, [made])


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_the_process_as_ever(name: str) -> None:
    """With the signal's own exit code; the run names it."""
    process = start(programs.ending, "signal")
    lines = until(process, "ready")
    process.send_signal(signal.Signals[name])
    done = ended(process, lines)
    (made,) = recovered()
    # 1 where modules that are imported at exit make Python 3.11 forget that it was a KeyboardInterrupt.
    codes = {-signal.Signals[name], 1} if name == "SIGINT" else {-signal.Signals[name]}
    assert done.code in codes
    assert made.run.status == "incomplete"
    assert ("KeyboardInterrupt" if name == "SIGINT" else name) in str(made.run.error)
    assert_kept(done, [made])


@pytest.mark.parametrize("where", ["before", "after"])
def test_the_applications_own_handler_wins(where: str) -> None:
    """Set before or after ours: it alone is called, the run goes on and ends well, and the handler stays after us."""
    process = start(programs.handled, where)
    lines = until(process, "ready")
    process.send_signal(signal.SIGTERM)
    done = ended(process, lines)
    (made,) = documents()
    assert (done.code, done.errors, made.run.status, made.run.error) == (0, "", "complete", None)
    assert done.lines[-1] == "handler stays"
    assert_kept(done, recovered())


def test_a_handler_that_calls_the_one_before_it_reaches_ours() -> None:
    """Ours then does what it does: the run names the signal, the process dies of it."""
    process = start(programs.handled, "chained")
    lines = until(process, "ready")
    process.send_signal(signal.SIGTERM)
    done = ended(process, lines)
    (made,) = recovered()
    assert done.code == -signal.SIGTERM
    assert "SIGTERM" in str(made.run.error)
    assert_kept(done, [made])


def test_asyncios_handler_wins() -> None:
    """The task is cancelled, the run says so, and the process ends as the application meant it."""
    process = start(programs.handled_by_asyncio)
    lines = until(process, "ready")
    process.send_signal(signal.SIGTERM)
    done = ended(process, lines)
    (made,) = documents()
    assert (done.code, done.errors, done.lines[-1]) == (0, "", "cancelled")
    assert "CancelledError" in str(made.run.error)
    assert_kept(done, recovered())


def test_a_signal_during_fifty_runs_leaves_fifty_documents() -> None:
    """Each names the signal and holds all of its decisions."""
    process = start(programs.fifty_runs)
    lines = until(process, "ready")
    process.send_signal(signal.SIGTERM)
    done = ended(process, lines)
    made = recovered()
    assert (done.code, len(made), len(done.said)) == (-signal.SIGTERM, 50, 100)
    assert {document.run.status for document in made} == {"incomplete"}
    assert all("SIGTERM" in str(document.run.error) for document in made)
    assert_kept(done, made)


@pytest.mark.parametrize("how", ["normal", "killed"])
def test_runs_inside_runs_are_documents_of_their_own(how: str) -> None:
    """Also where the process is killed in the innermost; the outer one lists them."""
    process = run(programs.nested, how)
    outer, done, inner = recovered()
    assert (given(done.parent_trace_id), given(inner.parent_trace_id)) == (outer.trace_id, outer.trace_id)
    assert [child.trace_id for child in outer.child_traces] == [done.trace_id, inner.trace_id]
    assert (done.run.status, inner.run.status) == ("complete", "complete" if how == "normal" else "incomplete")
    assert sayings([inner]) == {"inner": 1}
    assert_kept(process, [outer, done, inner])


@pytest.mark.parametrize("kind", ["daemon", "other"])
def test_threads_that_record_while_the_interpreter_exits_lose_nothing(kind: str) -> None:
    """Python waits for other threads than daemons; of these, all is kept that was recorded."""
    process = run(programs.recording_threads, kind)
    made = recovered()
    assert (process.code, len(made)) == (0, 3)
    assert {document.run.status for document in made} == {"incomplete" if kind == "daemon" else "complete"}
    assert_kept(process, made)


def test_runs_that_begin_while_the_interpreter_exits_are_kept() -> None:
    """In a handler that Python calls before ours, and in threads that it starts."""
    process = run(programs.started_at_exit)
    assert sorted(process.said) == ["at exit", "in a thread at exit", "main"]
    assert_kept(process, documents())
    assert_kept(process, recovered())


def test_runs_that_begin_after_our_own_end_are_kept() -> None:
    """In a handler that was registered before ire_otel was imported, and so is called after it stopped."""
    late = """
import atexit
def late():
    from tests.faults.programs import small_run
    small_run("at exit")
atexit.register(late)
"""
    process = ended(start(programs.small_run, "main", before=late))
    assert sorted(process.said) == ["at exit", "main"]
    assert_kept(process, recovered())


# -- forks ------------------------------------------------------------------------------------------------------------


def test_a_forked_child_that_leaves_the_runs_block_does_not_end_the_run() -> None:
    """One document, complete, with what both recorded."""
    process = run(programs.falls_through)
    (made,) = documents()
    assert (process.code, process.errors, made.run.status) == (0, "", "complete")
    assert_kept(process, [made])
    assert [document.trace_id for document in recovered()] == [made.trace_id]


def test_a_forked_child_records_in_its_parents_run() -> None:
    """In the parent's stage, in a stage of its own, and in a run of its own, which is a child run."""
    process = run(programs.child_records)
    root, own = documents()
    assert (process.code, process.errors) == (0, "")
    assert sayings([own]) == {"child's own run": 1}
    assert given(own.parent_trace_id) == root.trace_id
    assert [child.trace_id for child in root.child_traces] == [own.trace_id]
    found = {name: [decision.what for decision in stage.decisions] for name, stage in root.stages.items()}
    assert found == {
        "collection": ["root before", "child in the stage", "child after it", "root meanwhile"],
        "child": ["child in its stage"],
        "run": ["root in no stage"],
    } or sorted(found["collection"]) == ["child after it", "child in the stage", "root before", "root meanwhile"]
    assert_kept(process, recovered())


@pytest.mark.parametrize("program", [programs.forks_outside, programs.prefork, programs.forks_while_threads_run])
def test_forked_processes_trace_runs_of_their_own(program: Program) -> None:
    """Each is written by the process that traced it."""
    process = run(program)
    made = documents()
    assert process.code == 0
    # Python's own concurrent.futures says this where it is imported while a fork waits.
    assert process.errors.splitlines()[-1:] in ([], ["RuntimeError: release unlocked lock"])
    assert "ire-otel" not in process.errors
    assert len(made) == len(process.said)
    assert {document.run.status for document in made} == {"complete"}
    assert_kept(process, made)
    assert len(recovered()) == len(made)


def test_a_child_that_is_forked_in_the_middle_of_a_transaction_writes_its_rows() -> None:
    """SQLite keeps the locks of a process in its memory: the child would wait for a transaction that nobody ends."""
    process = run(programs.forks_while_rows_are_written)
    assert (process.code, process.errors) == (0, "")
    assert [line for line in process.lines if line.startswith("row")] == ["row saved"] * programs.FORKS
    assert_kept(process, recovered())


def test_workers_of_a_prefork_server_that_are_terminated_leave_their_runs() -> None:
    """The handler that they inherited is theirs: each run names the signal."""
    process = run(programs.terminated_prefork)
    assert f"ended {[-signal.SIGTERM] * 3}" in process.lines
    made = recovered()
    assert [document.run.status for document in made] == ["complete", *["incomplete"] * 3, "complete"]
    assert all("SIGTERM" in str(document.run.error) for document in made[1:4])
    assert_kept(process, made)


# -- multiprocessing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("program", [programs.multiprocessing_workers, programs.process_pool])
def test_workers_of_multiprocessing_write_their_runs(program: Program, method: str) -> None:
    """Though they end without the interpreter's own exit."""
    process = run(program, method)
    made = documents()
    assert (process.code, process.errors) == (0, "")
    assert_kept(process, made)
    assert len(recovered()) == len(process.said) == len(made)


@pytest.mark.parametrize("carry", ["fork", "spawn", "forkserver", "environment", "TRACEPARENT"])
@pytest.mark.parametrize("end", ["normal", "killed", "outlives", "orphan"])
def test_a_worker_continues_a_run(carry: str, end: str, tmp_path: Path) -> None:
    """Whether it ends in time, is killed, outlives the run, or the process of the run is killed: one document."""
    process = start(workers.root, carry, end)
    if end == "orphan":
        lines = until(process, "said worker in its stage")
        (tmp_path / "told").touch()
        done = ended(process, lines)
    else:
        done = ended(process)
    if end in {"normal", "killed"}:
        assert_kept(done, documents())
    (made,) = recovered()
    assert_kept(done, [made])
    assert made.run.status == ("incomplete" if end == "orphan" else "complete")
    late = ["worker after the root", "worker's call after the root"] if end in {"outlives", "orphan"} else []
    found = {name: [decision.what for decision in stage.decisions] for name, stage in made.stages.items()}
    assert found["worker"] == ["worker in its stage", "worker's call in its stage", *late]
    assert {"root before", "worker in the root's stage"} <= set(found["collection"])
    if carry != "TRACEPARENT":
        assert "worker's call in the root's stage" in found["collection"]
