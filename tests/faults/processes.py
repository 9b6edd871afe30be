"""Pipelines in processes of their own, and what they said."""

import multiprocessing
import os
import time
from collections import defaultdict
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from tests.faults import pipelines

WAIT: Final = 60.0
"""Seconds after which something that should have happened has not."""
_CHUNK: Final = 1 << 16
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        "tests.faults.pipelines",
        "ire_otel.cli.recover",
        "ire_otel_exporters.research",
        "alembic.command",
        "encodings.ascii",
        "pydantic.main",
        "pydantic.type_adapter",
        "typer._adapters",
    ]
)
"""All that a worker or a recovery would import: the faults are to hit its own work, and forks are quick."""


class Said(msgspec.Struct, kw_only=True):
    """What a process said of one run."""

    ended: bool = False
    done: dict[str, set[int]] = msgspec.field(default_factory=lambda: defaultdict(set))
    """The numbers of what was recorded before it said so: of each `decision`, `prompts`, `evidence`, `score`."""


class Process:
    """A pipeline at work. As a context manager it is killed where the block is left."""

    def __init__(self, program: str, folder: Path, **settings: object) -> None:
        """Start a program of `pipelines` in `folder`, forked from a process that has loaded everything."""
        folder.mkdir(parents=True, exist_ok=True)
        self._connection, theirs = _forks.Pipe()
        given = {name: str(value) for name, value in settings.items()}
        self._process = _forks.Process(target=_begin, args=(program, folder, given, theirs))
        self._process.start()
        theirs.close()
        self._unfinished = b""
        self._lines: list[list[str]] = []
        self._heard = 0
        self.folder = folder
        self.exit_code: int | None = None
        """Negative for a signal; None before `wait`."""
        self.pid = self._process.pid or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL, and hear what it had said by then."""
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait for its end; gives its exit code, negative for a signal."""
        while self._listen():
            pass
        self._process.join(WAIT)
        assert self._process.exitcode is not None, f"process {self.pid} has not ended"
        self.exit_code = self._process.exitcode
        return self.exit_code

    def tell(self, order: str) -> None:
        """Give it an order."""
        os.write(self._connection.fileno(), f"{order}\n".encode())

    def hear(self, word: str) -> list[str]:
        """Wait for the next line with this word; gives its words."""
        while True:
            for line in self._lines[self._heard :]:
                self._heard += 1
                if word in line:
                    return line
            assert self._listen(), f"process {self.pid} ended before it said {word!r}: {self.log()}"

    def said(self) -> dict[str, Said]:
        """Give what it has said so far, by run."""
        runs: dict[str, Said] = defaultdict(Said)
        for trace_id, *words in self._lines:
            if not trace_id.startswith("trc_"):
                continue
            runs[trace_id].ended |= words == ["ended"]
            runs[trace_id].done[words[0]].update(map(int, words[1:]))
        return runs

    def log(self) -> str:
        """Give what it logged."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def _listen(self) -> bool:
        """Take what it says; False where it has ended."""
        assert self._connection.poll(WAIT), f"process {self.pid} says nothing: {self.log()}"
        try:
            said = os.read(self._connection.fileno(), _CHUNK)
        except ConnectionResetError:  # it ended without having read all its orders
            return False
        *lines, self._unfinished = (self._unfinished + said).split(b"\n")
        self._lines += [line.decode().split() for line in lines]
        return bool(said)


def _begin(program: str, folder: Path, settings: dict[str, str], connection: Connection) -> None:
    pipelines.begin(program, folder, settings, connection.fileno())


def killed_after(program: str, folder: Path, seconds: float, **settings: object) -> Process:
    """Start a program, kill it so many seconds after it began its first run, and give it."""
    process = Process(program, folder, **settings)
    process.hear("run")
    time.sleep(seconds)
    process.kill()
    return process
