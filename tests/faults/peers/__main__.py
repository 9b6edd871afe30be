"""`python -m tests.faults.peers`: what ire-otel and its peers keep when things go wrong, as Markdown tables."""

import argparse
import os
import platform
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import Progress

from tests.faults.peers.contenders import NAMES, contender
from tests.faults.peers.report import SCENARIOS, Report, markdown, results
from tests.faults.peers.trial import Job, Trial, trial

_AT_ONCE: Final = 8
"""Trials at a time: their processes mostly wait."""


def main() -> None:
    """Run all trials, print the tables, write the raw numbers where asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="processes that are killed (20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single trial to FILE")
    arguments = parser.parse_args()
    packages, absent = _packages()
    trials = _all_trials([job for name in packages for job in _jobs(name, arguments.rounds)])
    report = Report(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count(),
        packages=packages,
        absent=absent,
        results=results(trials),
        trials=trials,
    )
    print(markdown(report))  # noqa: T201 # the result
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def _packages() -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Give the versions behind each system that is here, and why the others are not."""
    found, absent = {}, {}
    for name in NAMES:
        try:
            found[name] = {package: version(package) for package in contender(name).PACKAGES}
        except (ModuleNotFoundError, PackageNotFoundError) as error:
            absent[name] = f"{error}; see the dependency group `peers`"
    return found, absent


def _jobs(name: str, rounds: int) -> list[Job]:
    """Say how often each scenario is tried: kills at a random instant `rounds` times, other random places less."""
    times = {"killed": rounds, "os._exit": max(1, rounds // 4), "exception": max(1, rounds // 4)}
    return [Job(name, scenario, chance) for scenario in SCENARIOS for chance in range(times.get(scenario, 1))]


def _all_trials(jobs: list[Job]) -> list[Trial]:
    # Outages last longest, so they begin first; the flood measures speed, so each has the machine for itself.
    together = sorted((job for job in jobs if job.scenario != "flood"), key=lambda job: job.scenario != "outage")
    done: dict[Job, Trial] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("trials", total=len(jobs))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            running = {pool.submit(trial, job): job for job in together}
            for future in as_completed(running):
                done[running[future]] = future.result()
                progress.advance(task)
        for job in jobs:
            if job.scenario == "flood":
                done[job] = trial(job)
                progress.advance(task)
    return [done[job] for job in jobs]


if __name__ == "__main__":
    main()
