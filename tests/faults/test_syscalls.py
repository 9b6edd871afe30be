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
WHO: Final = ("worker", "worker without a database", "recovery")
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
@pytest.mark.parametrize("who", WHO)
def test_calls_that_fail(who: str, fault: str, tmp_path: Path, figures: RecordFigure) -> None:
    """Each call that writes something fails, or the process is killed there, one after the other: nothing is lost."""
    met = by_itself = left = 0
    for call in CALLS:
        for number in range(1, MOST):
            brain = Brain(tmp_path / f"{call}-{number}")
            process = meet(who, brain, (call, fault, number))
            seen = (brain.folder / "seen").read_text(errors="replace")
            if process.exit_code != -signal.SIGKILL and "(INJECTED)" not in seen:
                break
            met += 1
            by_itself += bool(brain.documents())
            left += check(brain, process, kept_temporary=call == "unlink" or fault == "signal=KILL")
    figures("calls", met)
    figures("runs written before a recovery came", by_itself)
    figures("temporary files left, named by verify", left)


def meet(who: str, brain: Brain, fault: tuple[str, str, int]) -> Process:
    """Make a run in a brain folder whose worker, or whose recovery, meets the fault."""
    brain.make_database()
    seen = brain.folder / "seen"
    if who == "recovery":
        return recovery(brain.folder, fault, seen)
    away = {"database_url": "sqlite:////dev/null/traces.db"} if who == "worker without a database" else {}
    return worker(brain.folder, fault, seen, **away)


def check(brain: Brain, process: Process, *, kept_temporary: bool) -> int:
    """Check that after a recovery everything is there once; gives how many temporary files are left."""
    with Process("recover", brain.folder) as recovering:
        recovering.tell("go")
        assert recovering.wait() == 0, recovering.log()
    documents = brain.documents()
    said = said_by([process])
    assert set(documents) == set(said), f"{brain.folder}: {recovering.log()}"
    if not said:
        return 0  # the worker was killed before the run began
    held_against(said, documents)
    for trace_id, one in said.items():
        assert documents[trace_id].run.status == ("complete" if one.ended else "incomplete")
    assert set(brain.rows()) == set(documents)
    left = brain.leftovers()
    assert kept_temporary or not left
    return left
