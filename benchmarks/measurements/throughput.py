"""How fast recovery, reindex and verify go through runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from benchmarks import reference
from benchmarks.contenders import Contender
from benchmarks.lockstep import ROOT, contest
from benchmarks.results import Figure, Figures, Goal, Scale, Size

TITLE: Final = "Recovery, reindex, verify"
REMARK: Final = (
    "The commands on reference runs, whose documents have 150 KB, and SQLite: `recover` on journals of a process that "
    "was killed in the middle of all its runs, `db reindex` into empty tables, `verify` of all files and rows. "
    "Per core: runs per second of CPU time of all the command's threads, its start left out (the same command with "
    "nothing to do; for `verify`, a reindex with nothing to do)."
)
CHARTS: Final = ()
REINDEX: Final = ("db", "reindex")


SIZES: Final = {
    Scale.SMALLEST: Size(rounds=1, each=4),
    Scale.QUICK: Size(rounds=1, each=500),
    Scale.FULL: Size(rounds=3, each=500),
}
"""How many runs."""


class Done(msgspec.Struct):
    """How many runs were recorded."""

    runs: int


def record_runs(contender: Contender, runs: int) -> Done:
    """Record runs, and leave their files."""
    for _ in range(runs):
        contender.record()
    contender.settle()
    return Done(runs)


def measure(scale: Scale) -> list[Figure]:
    """Let each command work on fresh copies, in turn."""
    size = SIZES[scale]
    rates: dict[str, list[float]] = {"reindex": [], "verify": [], "recover": []}
    with contest(["ire"]) as held, TemporaryDirectory(prefix="ire-otel-bench-") as name:
        held.one("ire", Done, record_runs, size.each)
        recorded, folder = held.folder / "ire" / "brain", Path(name)
        for _ in range(size.rounds):
            brain = folder / "brain"
            shutil.copytree(recorded / "projects", brain / "projects")
            report = brain.parent / str(reference.OUTPUTS["report_path"])
            report.parent.mkdir(parents=True)
            report.write_text("# The report that the runs name\n")
            _used(brain, "db", "upgrade")  # which takes as long for any number of runs
            rates["reindex"].append(_each(size.each, brain, *REINDEX))
            rates["verify"].append(_each(size.each, brain, "verify", start=REINDEX))
            shutil.rmtree(brain)
            _abandon(brain, size.each)
            rates["recover"].append(_each(size.each, brain, "recover"))
            files = list(brain.glob("projects/*/_traces/*.json"))
            assert len(files) == size.each, f"{len(files)} of {size.each} runs were recovered"
            shutil.rmtree(brain)
    return [Figure(what="per core", of=of, unit="runs/s", samples=samples) for of, samples in rates.items()]


def _each(runs: int, brain: Path, *command: str, start: Sequence[str] = ()) -> float:
    """Give runs per second of CPU time, without that of `start`; by default of the same command again.

    The least of three starts: one takes half as long again as another. Where even that hides the rest, it counts, too.
    """
    used = _used(brain, *command)
    rest = used - min(_used(brain, *(start or command)) for _ in range(3))
    return runs / (rest if rest > used / 10 else used)


def _used(brain: Path, *command: str) -> float:
    """Give the seconds of CPU time that a command took."""
    ire_otel = Path(sys.executable).with_name("ire-otel")
    given = os.environ | {"IRE_OTEL_BRAIN_DIR": str(brain)}
    with (brain.parent / "log").open("w+") as log:
        with subprocess.Popen([ire_otel, *command], env=given, stdout=log, stderr=log, cwd=brain.parent) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        if process.returncode:
            raise RuntimeError(f"`ire-otel {' '.join(command)}` failed: {log.read()[-2_000:]}")
    return usage.ru_utime + usage.ru_stime


def _abandon(brain: Path, runs: int) -> None:
    """Let a process begin runs, record all of them, and be killed before the end of any."""
    command = [sys.executable, "-m", "benchmarks.abandoned", str(brain), str(runs)]
    given = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=given, cwd=brain.parent, check=False, capture_output=True, text=True)
    if "recorded" not in done.stdout:
        raise RuntimeError(f"the process that is killed ended early: {done.stderr[-2_000:]}")


def goals(figures: Figures) -> Iterator[Goal]:
    """Hold reindex against its bound."""
    yield Goal(
        what="reindex, documents of 150 KB, per core",
        measured=figures.median("per core", "reindex"),
        bound=1_000,
        unit="documents/s",
        at_least=True,
    )
