"""`python -m benchmarks`: what a traced run costs, as a table and, with --json, as raw results."""

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import track

from benchmarks.lockstep import contest
from benchmarks.measured import Turn
from benchmarks.report import table, verdicts

RUNS = 20
"""Runs in a turn, and again as many one right after the other."""
ROUNDS = {"quick": 12, "default": 40}
WARM_UP_ROUNDS = 10
"""Until the memory that is kept for late spans has stopped growing."""
_PACKAGES = (
    "ire-otel",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http",
    "msgspec",
    "orjson",
    "sqlalchemy",
)


def main() -> None:
    """Measure, print the table, write the raw results where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a first look in seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement to FILE")
    arguments = parser.parse_args()
    console = Console()
    try:
        rounds = _measure(ROUNDS["quick" if arguments.quick else "default"])
    except RuntimeError as error:
        sys.exit(f"benchmarks: {error}")
    console.print(table(rounds))
    for line in verdicts(rounds):
        console.print(line)
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode({**_surroundings(), "rounds": rounds})))


def _measure(rounds: int) -> list[dict[str, Turn]]:
    with contest() as contenders:
        progress = track(range(WARM_UP_ROUNDS + rounds), "measuring", console=Console(stderr=True), transient=True)
        return [contenders.round(RUNS) for _ in progress][WARM_UP_ROUNDS:]


def _surroundings() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in _PACKAGES},
        "runs_per_turn": RUNS,
        "unit": "microseconds",
    }


if __name__ == "__main__":
    main()
