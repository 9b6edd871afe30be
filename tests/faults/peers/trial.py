"""One trial: a system at work in a process of its own, the fault, and what is found afterwards."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import msgspec

from tests.faults.peers import child, work
from tests.faults.peers.contenders import contender
from tests.faults.peers.sink import Sink

OUTAGE: Final = 5.0
"""Seconds after the end of the process for which sink and database stay away."""
LIMIT: Final = 90.0
"""Seconds after its first decision at which a process that has not ended is killed."""
SLOW: Final = 0.05
"""Seconds that the sink takes for each request of the flood."""
CRASHES: Final = frozenset({"killed", "terminated", "os._exit", "exception"})
"""After these, a recovery command is run where the system has one."""
_NO_POSTGRES: Final = "postgresql://127.0.0.1:1/research"
"""Nobody listens there."""
_ROOT: Final = Path(__file__).parents[3]
_RUN_LENGTH: Final = work.DECISIONS * child.PAUSE
_NOTHING: Final[Mapping[str, str]] = {}
_FOREIGN: Final = ("OTEL_", "LOGFIRE_", "LANGFUSE_", "MLFLOW_", "IRE_OTEL_")


class Job(msgspec.Struct, frozen=True):
    """One trial to be made."""

    contender: str
    scenario: str
    chance: int
    """Seeds what happens at random."""


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
    """From the first decision to the end of the process."""
    cut_short: bool = False
    """Whether the process had to be killed because it did not end by itself."""


class _Process:
    """The child process, whose output is what must be kept."""

    def __init__(self, job: Job, sink: Sink, folder: Path, more: Mapping[str, str] = _NOTHING) -> None:
        own = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        environment = {**own, "HOME": str(folder), "PYTHONPATH": str(_ROOT), **more}
        arguments = [job.contender, job.scenario, sink.url, str(folder), str(job.chance)]
        self._errors = (folder / "stderr.txt").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.peers.child", *arguments],
            cwd=folder,
            env=environment,
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self.cut_short = False
        self.seconds = 0.0

    def recorded(self, fault: signal.Signals | None = None, after: float = 0.0) -> list[int]:
        """Give the numbers that the process told until its end; `fault` comes `after` seconds of work."""
        output: IO[bytes] | None = self.process.stdout
        assert output is not None
        # Unbuffered, or what was read ahead of the first line would be hidden from `communicate`.
        told = output.readline()  # empty where the process ends before it has recorded anything
        began = time.monotonic()
        if fault is not None:
            time.sleep(after)
            self.process.send_signal(fault)
        try:
            told += self.process.communicate(timeout=LIMIT)[0]
        except subprocess.TimeoutExpired:
            self.cut_short = True
            self.process.kill()
            told += self.process.communicate()[0]
        self.seconds = time.monotonic() - began
        self._errors.close()
        return [int(line) for line in told.split()]


def trial(job: Job) -> Trial:
    """Run a scenario once. Raises RuntimeError where the system recorded nothing at all."""
    with tempfile.TemporaryDirectory(prefix="peers-") as place:
        folder = Path(place)
        sink = Sink(SLOW if job.scenario == "flood" else 0.0)
        sink.open()
        try:
            process, recorded = (_outage if job.scenario == "outage" else _at_work)(job, sink, folder)
        finally:
            sink.close()
        if not recorded:
            raise RuntimeError(f"{job} recorded nothing: {(folder / 'stderr.txt').read_text()[-2000:]}")
        system = contender(job.contender)
        if job.scenario in CRASHES and system.RECOVERY:
            command = [str(Path(sys.executable).with_name(system.RECOVERY[0])), *system.RECOVERY[1:]]
            subprocess.run(command, cwd=folder, check=False, capture_output=True)
        return _counted(job, process, recorded, system.kept(folder, sink.received()))


def _at_work(job: Job, sink: Sink, folder: Path) -> tuple[_Process, list[int]]:
    process = _Process(job, sink, folder)
    if job.scenario == "killed":
        # A repeatable instant, no secret.
        instant = random.Random(job.chance).uniform(0.0, _RUN_LENGTH - 2 * child.PAUSE)  # noqa: S311
        return process, process.recorded(signal.SIGKILL, instant)
    if job.scenario == "terminated":
        return process, process.recorded(signal.SIGTERM, _RUN_LENGTH / 2)
    return process, process.recorded()


def _outage(job: Job, sink: Sink, folder: Path) -> tuple[_Process, list[int]]:
    """Let the system work once more when the sink is back, so that it may deliver what it has stored meanwhile."""
    sink.close()
    remote = {"IRE_OTEL_DATABASE_URL": _NO_POSTGRES, "MLFLOW_TRACKING_URI": sink.url}
    process = _Process(job, sink, folder, remote)
    recorded = process.recorded()
    time.sleep(OUTAGE)
    sink.open()
    _Process(msgspec.structs.replace(job, scenario="one run"), sink, folder, remote).recorded()
    return process, recorded


def _counted(job: Job, process: _Process, recorded: list[int], kept: Mapping[int, str]) -> Trial:
    if job.scenario in {"forked", "spawned"}:
        # Only what the other process recorded is asked for, and it must be filed with the run that it belongs to.
        kept = {number: trace for number, trace in kept.items() if trace == kept.get(0)}
        recorded = [number for number in recorded if number >= work.DECISIONS_PER_STAGE]
    lost = [number for number in recorded if number not in kept]
    runs = {number // work.DECISIONS for number in recorded}
    return Trial(
        contender=job.contender,
        scenario=job.scenario,
        decisions=len(recorded),
        decisions_kept=len(recorded) - len(lost),
        runs=len(runs),
        runs_kept=len(runs - {number // work.DECISIONS for number in lost}),
        seconds=round(process.seconds, 2),
        cut_short=process.cut_short,
    )
