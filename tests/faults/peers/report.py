"""The trials of all systems as Markdown tables: for each scenario, what was kept of what must be kept."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tests.faults.peers.trial import Trial

SCENARIOS: Final = {
    "exit": "normal exit after 20 runs",
    "killed": "kill -9 in the middle of a run",
    "terminated": "SIGTERM under 50 concurrent asyncio runs",
    "os._exit": "os._exit(1) in the middle of a run",
    "exception": "uncaught exception in the middle of a run",
    "outage": "sink or database away until 5 s after the end",
    "flood": "2,000 runs from 8 threads, sink slowed to 50 ms",
    "forked": "8 decisions of a forked child",
    "spawned": "8 decisions of a spawned child",
}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All trials of one system in one scenario, added up."""

    contender: str
    scenario: str
    trials: int
    decisions: int
    decisions_kept: int
    runs: int
    runs_kept: int
    seconds: float
    """The longest time that a process took from its first decision to its end."""
    cut_short: int
    """Processes that had to be killed because they did not end."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` writes."""

    python: str
    system: str
    cores: int | None
    packages: dict[str, dict[str, str]]
    """The versions behind each system."""
    absent: dict[str, str]
    """Systems that were not compared, and why."""
    results: list[Result]
    trials: list[Trial]


def results(trials: Sequence[Trial]) -> list[Result]:
    """Add up the trials by system and scenario, in the order in which these come first."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for one in trials:
        groups.setdefault((one.contender, one.scenario), []).append(one)
    return [
        Result(
            contender=name,
            scenario=scenario,
            trials=len(group),
            decisions=sum(one.decisions for one in group),
            decisions_kept=sum(one.decisions_kept for one in group),
            runs=sum(one.runs for one in group),
            runs_kept=sum(one.runs_kept for one in group),
            seconds=max(one.seconds for one in group),
            cut_short=sum(one.cut_short for one in group),
        )
        for (name, scenario), group in groups.items()
    ]


def markdown(report: Report) -> str:
    """Lay out decisions, then whole runs, then the versions."""
    tables = [
        _table("decisions kept / must be kept", report.results, lambda one: (one.decisions_kept, one.decisions)),
        _table("runs kept whole / begun", report.results, lambda one: (one.runs_kept, one.runs)),
        "\n".join(_remarks(report)),
    ]
    return "\n\n".join(tables)


def _remarks(report: Report) -> list[str]:
    versions = {package: version for found in report.packages.values() for package, version in found.items()}
    said = ", ".join(f"{package} {version}" for package, version in sorted(versions.items()))
    return [
        f"Python {report.python}, {report.system}, {report.cores} cores; {said}.",
        *(f"Not compared: {name} ({why})." for name, why in report.absent.items()),
        *(
            f"\\* {one.contender}, {SCENARIOS[one.scenario]}: not ended by itself after {one.seconds:.0f} s, killed."
            for one in report.results
            if one.cut_short
        ),
    ]


def _table(title: str, found: Sequence[Result], measure: Callable[[Result], tuple[int, int]]) -> str:
    names = list(dict.fromkeys(one.contender for one in found))
    cells = {(one.scenario, one.contender): _cell(*measure(one)) + " *" * bool(one.cut_short) for one in found}
    lines = [f"| {title} | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    lines += [
        f"| {label} | {' | '.join(cells[scenario, name] for name in names)} |"
        for scenario, label in SCENARIOS.items()
        if (scenario, names[0]) in cells
    ]
    return "\n".join(lines)


def _cell(kept: int, must_be_kept: int) -> str:
    # Rounded down: 100 % is said only of everything.
    return f"{kept:,} / {must_be_kept:,} ({100 * kept // must_be_kept} %)"
