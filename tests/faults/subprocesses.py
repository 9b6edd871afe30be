"""Real processes that run the programs of these tests, and what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from ire_otel import reader
from ire_otel.model import TraceDocument

CHECKOUT: Final = Path(__file__).parents[2]
COMMAND: Final = Path(sys.executable).with_name("ire-otel")
LONG: Final = 100
"""Seconds after which a process hangs."""


def start(program: Callable[..., None], *arguments: str, before: str = "", **environment: str) -> subprocess.Popen[str]:
    """Start a process in this folder that runs a program. before: Python that comes before ire_otel is imported."""
    code = (
        f"import sys\n{before}\nfrom {program.__module__} import {program.__name__}\n{program.__name__}(*sys.argv[1:])"
    )
    path = os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(process: subprocess.Popen[str], line: str) -> list[str]:
    """Give the lines that a process prints up to that one."""
    assert process.stdout is not None
    lines: list[str] = []
    for read in process.stdout:
        lines.append(read.rstrip("\n"))
        if lines[-1] == line:
            return lines
    raise AssertionError(f"the process ended before it said {line!r}: {process.communicate()[1]}")


class Ended(msgspec.Struct, frozen=True):
    """A process that ended, and all its children with it."""

    code: int
    lines: list[str]
    errors: str

    @property
    def said(self) -> list[str]:
        """The decisions that `decide` returned from."""
        return [line.removeprefix("said ") for line in self.lines if line.startswith("said ")]


def ended(process: subprocess.Popen[str], lines: Iterable[str] = (), *, within: float = LONG) -> Ended:
    """Wait until a process has ended, and everybody who inherited its output. lines: what was read already."""
    try:
        output, errors = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Ended(process.returncode, [*lines, *output.splitlines()], errors)


def run(program: Callable[..., None], *arguments: str, **environment: str) -> Ended:
    """Run a program to its end."""
    return ended(start(program, *arguments, **environment))


def ire_otel_command(*arguments: str, **environment: str) -> Any:
    """Run `ire-otel … --json` in a process of its own; gives what it printed."""
    done = subprocess.run(
        [COMMAND, *arguments, "--json"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
    return msgspec.json.decode(done.stdout)


def documents(brain: Path = Path("brain")) -> list[TraceDocument]:
    """Give the documents that are there, in the order in which their runs began."""
    files = brain.glob("projects/*/_traces/*.json")
    made = [reader.decode(file.read_bytes(), str(file)) for file in files]
    return sorted(made, key=lambda document: document.run.started_at)


def recovered(**environment: str) -> list[TraceDocument]:
    """Recover, verify, and give the documents that are there then."""
    ire_otel_command("recover", **environment)
    assert ire_otel_command("verify", **environment)["differences"] == []
    return documents()


def sayings(made: Iterable[TraceDocument]) -> Counter[str]:
    """Count the decisions of the programs in documents."""
    return Counter(
        str(decision.what)
        for document in made
        for stage in document.stages.values()
        for decision in stage.decisions
        if decision.decision == "said"
    )


def assert_kept(process: Ended, made: Iterable[TraceDocument]) -> None:
    """Whatever a process said it had recorded is there, each once."""
    found = sayings(made)
    assert [what for what in process.said if what not in found] == []
    assert {what: count for what, count in found.items() if count > 1} == {}
