"""What a decision allocates, and which system calls it makes."""

import gc
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks import reference
from benchmarks.contenders import Contender
from benchmarks.lockstep import OFFLINE, ROOT, contest, sink
from benchmarks.results import Figure, Figures, Goal, Scale

TITLE: Final = "Allocations and system calls"
REMARK: Final = (
    "Memory blocks and bytes that Python holds for a decision while its run goes on (sys.getallocatedblocks, "
    "tracemalloc). System calls: counted by strace, in a process that records twice as many, less one that records "
    "half of them; `caller` those of the thread that records, `all` those of every thread until it is settled."
)
CHARTS: Final = ()
NAMES: Final = ("bare", "ire", "otel_batch")


class Size(NamedTuple):
    """How many."""

    decisions: int
    runs: int
    rounds: int


SIZES: Final = {
    Scale.SMALLEST: Size(decisions=20, runs=2, rounds=1),
    Scale.QUICK: Size(decisions=1_000, runs=20, rounds=3),
    Scale.FULL: Size(decisions=5_000, runs=100, rounds=11),
}


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """For each decision."""

    blocks: float
    bytes: float


class _Watched(Sequence[reference.Decision]):
    """Decisions that look at something before the first of them is recorded and after the last."""

    def __init__(self, count: int, look: Callable[[], int]) -> None:
        self._decisions = reference.decisions(count)
        self._look = look
        self.seen: list[int] = []

    def __len__(self) -> int:
        return len(self._decisions)

    def __getitem__(self, index: Any) -> Any:
        return self._decisions[index]

    def __iter__(self) -> Iterator[reference.Decision]:
        self.seen.append(self._look())
        yield from self._decisions
        self.seen.append(self._look())


def held(contender: Contender, decisions: int) -> Held:
    """Look at what is allocated while a run goes on."""
    contender.record_decisions(reference.decisions(decisions))
    contender.settle()
    gc.collect()
    gc.disable()
    blocks = _difference(contender, _Watched(decisions, sys.getallocatedblocks))
    tracemalloc.start()
    size = _difference(contender, _Watched(decisions, lambda: tracemalloc.get_traced_memory()[0]))
    tracemalloc.stop()
    gc.enable()
    contender.clean()
    return Held(blocks=blocks, bytes=size)


def _difference(contender: Contender, watched: _Watched) -> float:
    contender.record_decisions(watched)
    contender.settle()
    before, after = watched.seen
    return (after - before) / len(watched)


def measure(scale: Scale) -> list[Figure]:
    """Count in processes of each contender."""
    size = SIZES[scale]
    with contest(NAMES) as running:
        rounds = [running.round(Held, held, size.decisions) for _ in range(size.rounds)]
    figures = [
        Figure(what=what, of=name, unit=unit, samples=[getattr(one[name], field) for one in rounds])
        for what, field, unit in (("blocks per decision", "blocks", ""), ("bytes per decision", "bytes", "bytes"))
        for name in NAMES
    ]
    if shutil.which("strace") is None:
        return figures
    for name in NAMES:
        for whose, follow in (("caller", False), ("all", True)):
            for what, task, count in (("decision", "decisions", size.decisions), ("run", "runs", size.runs)):
                few, many = (_counts(name, task, number, follow=follow) for number in (count, 2 * count))
                each = {call: (many[call] - few.get(call, 0)) / count for call in many}
                most = sorted(((number, call) for call, number in each.items() if number >= 0.01), reverse=True)[:6]
                remark = ", ".join(f"{call} {number:.2f}" for number, call in most)
                total = max(0.0, sum(each.values()))
                figures.append(
                    Figure(what=f"calls per {what}, {whose}", of=name, unit="", samples=[total], remark=remark)
                )
    return figures


def _counts(name: str, task: str, count: int, *, follow: bool) -> dict[str, int]:
    """Give the number of each system call of a process that records `count` decisions or runs."""
    with TemporaryDirectory(prefix="ire-otel-bench-") as folder, sink(Path(folder)) as url:
        out = Path(folder) / "strace"
        command = ["strace", *(["-f"] if follow else []), "-c", "-o", str(out)]
        program = [sys.executable, "-m", "benchmarks.counted", name, url, folder, task, str(count)]
        given = os.environ | OFFLINE | {"PYTHONPATH": str(ROOT)}
        subprocess.run([*command, *program], env=given, cwd=folder, check=True, capture_output=True)
        lines = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", out.read_text(), re.MULTILINE)
    return {call: int(number) for number, call in lines if call != "total"}


def goals(figures: Figures) -> Iterator[Goal]:
    """None has been set."""
    del figures
    yield from ()
