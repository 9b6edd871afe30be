"""Every contender in turn, round after round, so that what else the machine does hits all of them alike."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.measured import Turn

CONTENDERS = ("bare", "ire", "shared", "batch")
_ROOT = Path(__file__).parent.parent


class Contest:
    """The contenders' processes, ready for turns."""

    def __init__(self, processes: dict[str, subprocess.Popen[str]]) -> None:
        self._processes = processes

    def round(self, runs: int) -> dict[str, Turn]:
        """Let every contender do one turn of `runs` runs, one after the other."""
        return {name: _turn(name, process, runs) for name, process in self._processes.items()}


@contextmanager
def contest() -> Iterator[Contest]:
    """Start the sink and the contenders; at the end each checks that nothing was lost. Raises RuntimeError."""
    with ExitStack() as stack, TemporaryDirectory(prefix="ire-otel-bench-") as folder:
        sink = stack.enter_context(_process("sink"))
        stack.callback(sink.terminate)
        url = _line("sink", sink)
        arguments = {name: ("measured", name, url, f"{folder}/{name}") for name in CONTENDERS}
        started = {name: stack.enter_context(_process(*words)) for name, words in arguments.items()}
        for process in started.values():
            stack.callback(process.kill)
        yield Contest(started)
        for name, process in started.items():
            process.communicate()
            if process.returncode:
                raise RuntimeError(f"contender {name} failed; its own message stands above")


def _process(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _turn(name: str, process: subprocess.Popen[str], runs: int) -> Turn:
    assert process.stdin is not None
    process.stdin.write(f"{runs}\n")
    process.stdin.flush()
    return msgspec.json.decode(_line(name, process), type=Turn)


def _line(name: str, process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{name} ended early; its own message stands above")
    return line.strip()
