"""Every contender in turn, round after round, so that what else the machine does hits all of them alike."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Concatenate, Final, TypeVar

import msgspec

from benchmarks.contenders import FIRST, Contender, Kept
from benchmarks.results import Figure

R = TypeVar("R")
Task = Callable[Concatenate[Contender, ...], R]
"""What a contender's process does, with whole numbers such as a number of runs; the result is a struct."""

ROOT: Final = Path(__file__).parent.parent
OFFLINE: Final = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "NO_PROXY": "*",
    "LANGSMITH_API_KEY": "local",
    "LANGSMITH_TRACING": "true",
}
"""What the peers document for keeping their own telemetry at home; LangSmith is switched on by a variable."""


class Contest:
    """The contenders' processes, ready for rounds."""

    def __init__(self, folder: Path, processes: dict[str, subprocess.Popen[str]]) -> None:
        self.folder = folder
        """Holds a folder for each contender."""
        self.processes = processes
        self.kept: dict[str, Kept] = {}
        """What the contenders kept of what they recorded, once the contest is over."""

    def round(self, kind: type[R], task: Task[R], *sizes: int) -> dict[str, R]:
        """Let every contender do the task, one after the other. Raises RuntimeError."""
        return {name: self.one(name, kind, task, *sizes) for name in self.processes}

    def share(self, kind: type[R], task: Task[R], size: int) -> dict[str, R]:
        """Let every contender do the task; the peers, which take much longer, with a quarter of the size."""
        return {
            name: self.one(name, kind, task, size if name in FIRST else max(1, size // 4)) for name in self.processes
        }

    def one(self, name: str, kind: type[R], task: Task[R], *sizes: int) -> R:
        """Let one contender do the task, which gives a `kind`. Raises RuntimeError."""
        stdin = self.processes[name].stdin
        assert stdin is not None
        function = getattr(task, "__name__", "")
        stdin.write(" ".join([f"{task.__module__}:{function}", *map(str, sizes)]) + "\n")
        stdin.flush()
        return msgspec.json.decode(self.answer(name), type=kind)

    def answer(self, name: str) -> str:
        """Wait for what a contender says. Raises RuntimeError where it ended instead."""
        stdout = self.processes[name].stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"{name} ended early: {self._last_words(name)}")
        return line.strip()

    def end(self) -> None:
        """Let each contender count what it kept. Raises RuntimeError."""
        for name, process in self.processes.items():
            assert process.stdin is not None
            process.stdin.close()
            self.kept[name] = msgspec.json.decode(self.answer(name), type=Kept)
            if process.wait(60):
                raise RuntimeError(f"{name} failed at its end: {self._last_words(name)}")

    def losses(self) -> Iterator[Figure]:
        """Give the share of spans, or runs, that each contender lost."""
        for name, kept in self.kept.items():
            if kept.recorded:
                lost = max(0, kept.recorded - kept.kept)
                remark = f"{lost:,} of {kept.recorded:,}"
                if kept.kept > kept.recorded:
                    remark += f"; {kept.kept - kept.recorded:,} arrived twice"
                yield Figure(what="lost", of=name, unit="%", samples=[100 * lost / kept.recorded], remark=remark)

    def _last_words(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2_000:].strip() or "without a word"


@contextmanager
def contest(names: Sequence[str], **environment: str) -> Iterator[Contest]:
    """Start contenders, each with a sink and a folder of its own. Raises RuntimeError."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="ire-otel-bench-", ignore_cleanup_errors=True)))
        made = Contest(folder, {name: _started(stack, name, folder, environment) for name in names})
        for name in names:
            made.answer(name)
        yield made
        made.end()


@contextmanager
def sink(folder: Path) -> Iterator[str]:
    """Start a sink and give its URL."""
    with ExitStack() as stack, (folder / "sink.log").open("w") as log:
        yield _sink(stack, folder, log, {})


def _started(stack: ExitStack, name: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    own = folder / name
    own.mkdir()
    log = stack.enter_context((folder / f"{name}.log").open("w"))
    url = _sink(stack, own, log, environment)
    return _process(stack, own, log, environment, "benchmarks.child", name, url, str(own))


def _sink(stack: ExitStack, folder: Path, log: Any, environment: dict[str, str]) -> str:
    process = _process(stack, folder, log, environment, "benchmarks.sink")
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _process(
    stack: ExitStack, folder: Path, log: Any, environment: dict[str, str], module: str, *arguments: str
) -> subprocess.Popen[str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith(("IRE_OTEL_", "OTEL_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,  # where no settings lie
        env=given | OFFLINE | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    return process
