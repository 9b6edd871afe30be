"""What a decision allocates, and which system calls it makes."""

import gc
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks import reference
from benchmarks.contenders import Contender
from benchmarks.counted import MARK
from benchmarks.lockstep import OFFLINE, ROOT, contest, sink
from benchmarks.results import Figure, Figures, Goal, Scale

TITLE: Final = "Allocations and system calls"
REMARK: Final = (
    "Memory blocks and bytes that Python holds for a decision while its run goes on (sys.getallocatedblocks, "
    "tracemalloc). System calls, as strace counts them: `caller` those of the thread that records, `all` those of "
    "every thread until it is settled."
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
    Scale.QUICK: Size(decisions=1_000, runs=20, rounds=2),
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
    return figures if shutil.which("strace") is None else [*figures, *_calls(size)]


def _calls(size: Size) -> Iterator[Figure]:
    """Count the calls of a decision and of a run: of the thread that records, and of all."""
    for name in NAMES if size.rounds > 1 else ("ire",):
        lines = _traced(name, size)
        caller = lines[0].split()[0]
        parts = {"decision": size.decisions, "run": size.runs}
        for part, following in (("decision", "run"), ("run", "end")):
            of_part = list(_between(lines, part, following))
            own = [call for call in of_part if call[0] == caller]
            for whose, made in (("caller", own), ("all", of_part)):
                calls = Counter(call for _, call in made)
                each = {call: number / parts[part] for call, number in calls.most_common(6)}
                remark = ", ".join(f"{call} {number:.2f}" for call, number in each.items() if number >= 0.01)
                total = calls.total() / parts[part]
                yield Figure(what=f"calls per {part}, {whose}", of=name, unit="", samples=[total], remark=remark)


def _traced(name: str, size: Size) -> list[str]:
    """Give the lines of strace's log, each with the number of its thread."""
    with TemporaryDirectory(prefix="ire-otel-bench-") as folder, sink(Path(folder)) as url:
        out = Path(folder) / "strace"
        counted = [sys.executable, "-m", "benchmarks.counted", name, url, folder, str(size.decisions), str(size.runs)]
        given = os.environ | OFFLINE | {"PYTHONPATH": str(ROOT)}
        subprocess.run(
            [shutil.which("strace") or "strace", "-f", "-o", str(out), *counted], env=given, cwd=folder, check=True
        )
        return out.read_text(errors="replace").splitlines()


def _between(lines: list[str], begin: str, end: str) -> Iterator[tuple[str, str]]:
    """Give thread and name of each call between two marks."""
    marked = [number for part in (begin, end) for number, line in enumerate(lines) if f"{MARK}/{part}" in line]
    for line in lines[marked[0] + 1 : marked[1]]:
        found = _CALL.match(line)
        if found is not None:
            yield found[1], found[2]


_CALL: Final = re.compile(r"(\d+) +(\w+)\(")
"""Not what strace says when a call that took long has returned."""


def goals(figures: Figures) -> Iterator[Goal]:
    """None has been set."""
    del figures
    yield from ()
