"""`python -m benchmarks`: what tracing costs, beside bare OpenTelemetry and others, as tables and raw results."""

import argparse
import os
import sys
from pathlib import Path
from time import monotonic

import msgspec
from rich.console import Console

from benchmarks import contenders, measurements, page, tables
from benchmarks.results import Figures, Measured, Report, Scale
from benchmarks.surroundings import surroundings


def main() -> None:
    """Measure, print tables, write raw results and the page where asked; exit code 1 where a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes and contenders: up to an hour")
    parser.add_argument("--only", action="append", choices=measurements.names(), help="may be given more than once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single sample to FILE")
    parser.add_argument("--merge", action="store_true", help="keep what FILE holds of measurements not made now")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="write performance.md and its plots into FOLDER")
    arguments = parser.parse_args()
    scale = Scale.FULL if arguments.full else Scale.QUICK
    console = Console(width=None if sys.stdout.isatty() else 160)
    names = arguments.only or measurements.names()
    measured = [_measured(console, name, scale) for name in names]
    report = Report(scale=scale, surroundings=surroundings(), absent=contenders.absent(), measured=measured)
    if arguments.merge and arguments.json.exists():
        report = _merged(report, msgspec.json.decode(arguments.json.read_bytes(), type=Report))
    goals = [goal for one in report.measured for goal in one.goals]
    console.print(tables.terminal("goals", tables.GOAL_HEADER, tables.goal_rows(goals)))
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=0))
    if arguments.page is not None:
        page.write(report, arguments.page)
    if any(one.failed for one in measured):
        sys.exit(1)


def _measured(console: Console, name: str, scale: Scale) -> Measured:
    made = measurements.measurement(name)
    console.print(f"measuring: {made.TITLE} …", style="dim")
    load, began = os.getloadavg()[0], monotonic()
    figures, failed = [], None
    try:
        figures = made.measure(scale)
    except RuntimeError as error:
        failed = str(error)
    result = Measured(
        name=name,
        title=made.TITLE,
        scale=scale,
        figures=figures,
        goals=list(made.goals(Figures(figures))),
        seconds=monotonic() - began,
        load=(load, os.getloadavg()[0]),
        failed=failed,
    )
    if failed is not None:
        console.print(f"benchmarks: {made.TITLE}: {failed}", style="red")
    else:
        caption = f"{made.REMARK} Took {result.seconds:.0f} s; load average {load:.1f}, then {result.load[1]:.1f}."
        console.print(tables.terminal(made.TITLE, tables.header(result), tables.rows(result), caption))
    return result


def _merged(new: Report, old: Report) -> Report:
    made = {one.name: one for one in (*old.measured, *new.measured)}
    ordered = [made[name] for name in measurements.names() if name in made]
    return msgspec.structs.replace(new, measured=ordered)


if __name__ == "__main__":
    main()
