"""One trial: a system at work in a process of its own, the fault, and what is found afterwards."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from tests.faults.peers import child, work
from tests.faults.peers.contenders import contender
from tests.faults.peers.sink import Sink

OUTAGE: Final = 5.0
"""Seconds after the end of the process for which sink and database stay away."""
LIMIT: Final = 120.0
"""Seconds after which a process that does not end is killed."""
SLOW: Final = 0.05
"""Seconds that the sink takes for each request of the flood."""
CRASHES: Final = frozenset({"killed", "terminated", "os._exit", "exception"})
"""After these, a recovery command is run where the system has one."""
_ROOT: Final = Path(__file__).parents[3]
_RUN_LENGTH: Final = work.DECISIONS * child.PAUSE
_OFF: Final = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "NO_PROXY": "*"}
_FOREIGN: Final = ("OTEL_", "LOGFIRE_", "LANGFUSE_", "MLFLOW_", "IRE_OTEL_")


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What one trial found."""

    contender: str
    scenario: str
    decisions: int
    """Decisions whose call had returned before the fault."""
    decisions_kept: int
    """Of these, the ones found afterwards."""
    runs: int
    """Runs with such decisions."""
    runs_kept: int
    """Of these, the ones all of whose decisions are found."""
    seconds: float
    """From the start of the process to its end."""
    cut_short: bool = False
    """Whether the process had to be killed because it did not end by itself."""


class _Process:
    """The child process, whose output is what must be kept."""

    def __init__(self, name: str, scenario: str, sink: Sink, folder: Path, chance: int, more: Mapping[str, str]) -> None:
        own = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        environment = {**own, **_OFF, "HOME": str(folder), "PYTHONPATH": str(_ROOT), **more}
        arguments = [name, scenario, sink.url, str(folder), str(chance)]
        self.began = time.monotonic()
        self._errors = (folder / "stderr.txt").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.peers.child", *arguments],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        self.cut_short = False
        self.seconds = 0.0

    def recorded(self, fault: signal.Signals | None = None, after: float = 0.0) -> list[int]:
        """Give the numbers that the process told until its end; `fault` comes `after` seconds of work."""
        output: IO[bytes] | None = self.process.stdout
        assert output is not None
        told = b""
        if fault is not None:
            told = output.readline()
            time.sleep(after)
            self.process.send_signal(fault)
        try:
            told += self.process.communicate(timeout=LIMIT)[0]
        except subprocess.TimeoutExpired:
            self.cut_short = True
            self.process.kill()
            told += self.process.communicate()[0]
        self.seconds = time.monotonic() - self.began
        self._errors.close()
        return [int(line) for line in told.split()]


def trial(name: str, scenario: str, chance: int) -> Trial:
    """Run a scenario once; `chance` seeds its random instant."""
    with tempfile.TemporaryDirectory(prefix="peers-") as place:
        folder = Path(place)
        sink = Sink(SLOW if scenario == "flood" else 0.0)
        sink.open()
        try:
            process, recorded = (_outage if scenario == "outage" else _at_work)(name, scenario, sink, folder, chance)
        finally:
            sink.close()
        system = contender(name)
        if scenario in CRASHES and system.RECOVERY:
            command = [str(Path(sys.executable).with_name(system.RECOVERY[0])), *system.RECOVERY[1:]]
            subprocess.run(command, cwd=folder, check=False, capture_output=True)
        kept = system.kept(folder, sink.received)
        if not recorded:
            raise RuntimeError(f"{name} recorded nothing in {scenario}: {(folder / 'stderr.txt').read_text()[-2000:]}")
        return _counted(name, scenario, process, recorded, kept)


def _counted(name: str, scenario: str, process: _Process, recorded: list[int], kept: Mapping[int, str]) -> Trial:
    if scenario in {"forked", "spawned"}:
        # Only what the other process recorded is asked for, and it must be filed with the run that it belongs to.
        kept = {number: trace for number, trace in kept.items() if trace == kept.get(0)}
        recorded = [number for number in recorded if number >= work.DECISIONS_PER_STAGE]
    lost = [number for number in recorded if number not in kept]
    runs = {number // work.DECISIONS for number in recorded}
    return Trial(
        contender=name,
        scenario=scenario,
        decisions=len(recorded),
        decisions_kept=len(recorded) - len(lost),
        runs=len(runs),
        runs_kept=len(runs - {number // work.DECISIONS for number in lost}),
        seconds=round(process.seconds, 2),
        cut_short=process.cut_short,
    )


def _at_work(name: str, scenario: str, sink: Sink, folder: Path, chance: int) -> tuple[_Process, list[int]]:
    process = _Process(name, scenario, sink, folder, chance, {})
    if scenario == "killed":
        instant = random.Random(chance).uniform(0.0, _RUN_LENGTH - 2 * child.PAUSE)  # noqa: S311 # repeatable, no secret
        return process, process.recorded(signal.SIGKILL, instant)
    if scenario == "terminated":
        return process, process.recorded(signal.SIGTERM, _RUN_LENGTH / 2)
    return process, process.recorded()


def _outage(name: str, scenario: str, sink: Sink, folder: Path, chance: int) -> tuple[_Process, list[int]]:
    """Let the system work once before and once after, so that it may deliver then what it has stored meanwhile."""
    _Process(name, "one run", sink, folder, chance, {}).recorded()
    sink.close()
    nowhere = {"IRE_OTEL_DATABASE_URL": f"postgresql://127.0.0.1:{sink.port}/research"}
    with _locked(folder):
        process = _Process(name, scenario, sink, folder, chance, nowhere)
        recorded = process.recorded()
        time.sleep(OUTAGE)
    sink.open()
    _Process(name, "one run", sink, folder, chance, {}).recorded()
    return process, recorded


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep every SQLite database in the folder locked, which is how a local database is down."""
    with ExitStack() as stack:
        for file in folder.glob("*.db"):
            stack.enter_context(closing(sqlite3.connect(file))).execute("BEGIN EXCLUSIVE")
        yield
