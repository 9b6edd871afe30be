"""System calls that fail, or never come back: each call that writes something, one after the other.

strace attaches to the one thread that writes, and lets its Nth call of a kind fail, or kills the process there. The
calls of SQLite are among them.
"""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.conftest import RecordFigure
from tests.faults.findings import Brain, held_against, said_by
from tests.faults.processes import Process

CALLS: Final = (
    "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "openat", "mkdir", "unlink", "flock", "fallocate"
)  # fmt: skip
FAULTS: Final = ("error=EIO", "error=ENOSPC", "signal=KILL")
MOST: Final = 200
"""Calls of a kind; more of them would mean that the test never ends."""


def _why_not() -> str | None:
    """Say why calls cannot be made to fail here."""
    if shutil.which("strace") is None:
        return "needs strace: apt-get install strace"
    tried = subprocess.run(
        ["strace", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"strace does not work here: {tried.stderr.strip()}"


WHY_NOT: Final = _why_not()
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(600),
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]


@contextmanager
def failing(thread: str, call: str, fault: str, number: int, seen: Path) -> Iterator[None]:
    """Let a call of a thread fail; `seen` gets what strace saw of such calls."""
    command = ["strace", "-p", thread, "-o", str(seen), "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:{fault}:when={number}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        first = strace.stderr.readline()
        assert "attached" in first, first
        try:
            yield
        finally:
            strace.send_signal(signal.SIGINT)


def worker(folder: Path, fault: tuple[str, str, int], seen: Path, **settings: str) -> Process:
    """Make a run whose worker meets the fault."""
    with Process("driven", folder, **settings) as process:
        _, thread = process.hear("worker")
        process.tell("flush 30")
        process.hear("flush")
        with failing(thread, *fault, seen):
            for order in ("run 3", "flush 30", "shutdown 30", "end"):
                process.tell(order)
            process.wait()
    return process


def recovery(folder: Path, fault: tuple[str, str, int], seen: Path) -> Process:
    """Make a run that dies, and recover it with a recovery that meets the fault; gives the process of the run."""
    with Process("driven", folder) as process:
        process.tell("open")
        process.tell("decide 0 3")
        process.hear("decided")
    with Process("recover", folder) as recovering:
        _, thread = recovering.hear("ready")
        with failing(thread, *fault, seen):
            recovering.tell("go")
            recovering.wait()
    process.exit_code = recovering.exit_code
    return process


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("who", ["worker", "worker without a database", "recovery"])
def test_a_call_that_fails(who: str, call: str, fault: str, tmp_path: Path, figures: RecordFigure) -> None:
    """Each call of the worker, or of a recovery, that writes fails, or the process is killed there; nothing is lost."""
    met = by_itself = left = 0
    for number in range(1, MOST):
        folder = tmp_path / str(number)
        seen = folder / "seen"
        brain = Brain(folder)
        brain.make_database()
        if who == "recovery":
            process = recovery(folder, (call, fault, number), seen)
        else:
            away = {"database_url": "sqlite:////dev/null/traces.db"} if who == "worker without a database" else {}
            process = worker(folder, (call, fault, number), seen, **away)
        if process.exit_code != -signal.SIGKILL and "(INJECTED)" not in seen.read_text(errors="replace"):
            break
        met += 1
        by_itself += bool(brain.documents())
        left += check(brain, process, kept_temporary=call == "unlink" or fault == "signal=KILL")
    figures(f"calls of {call} that met {fault.partition('=')[2]}", met)
    figures("runs written all the same, before any recovery", by_itself)
    figures("temporary files left, named by verify", left)


def check(brain: Brain, process: Process, *, kept_temporary: bool) -> int:
    """Check that after a recovery everything is there once; gives how many temporary files are left."""
    with Process("recover", brain.folder) as recovering:
        recovering.tell("go")
        assert recovering.wait() == 0, recovering.log()
    documents = brain.documents()
    said = said_by([process])
    assert set(documents) == set(said)
    held_against(said, documents)
    for trace_id, one in said.items():
        assert documents[trace_id].run.status == ("complete" if one.ended else "incomplete")
    assert set(brain.rows()) == set(documents)
    left = brain.differences()
    assert all(".tmp: file: nothing refers to it" in line for line in left), left
    assert kept_temporary or not left, left
    return len(left)
