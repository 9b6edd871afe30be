"""Small pipelines for processes of their own, which say of each thing that they record when recording it has returned.

    python -m tests.faults.pipelines PROGRAM       orders from standard input, reports to standard output

Each report is a line, written with `os.write`, so that what a killed process reported is what it had done:

    <trace_id> run              the run has begun
    <trace_id> decision 17      `decide()` of decision 17 has returned; so with score, prompts and evidence
    <trace_id> ended            the run's block was left
"""

import contextvars
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import ire_otel
from ire_otel import Trace

PROJECT: Final = "cobot"
PROMPT_BYTES: Final = 100_000
DECISIONS: Final = 8
"""Decisions a stage."""
STAGES: Final = ("intake", "rubric", "collection", "synthesis", "quality_gate")
THREADS: Final = 4
APART: Final = 1_000_000
"""Distance between the first decisions of two threads."""


def decision(number: int) -> dict[str, Any]:
    """Give the arguments of decision `number`: about 500 bytes, now and then 5 KB."""
    times = 4 if number % 29 else 60
    return {
        "what": {"option": number, "reading": "the narrow reading of the brief"},
        "why": f"Option {number} answers the part of the query about small manufacturers. " * times,
        "confidence": number % 100 / 100,
        "alternatives": ["broad reading of the brief (0.31)", "ask the user to clarify (0.12)"],
        "inputs": {"number": number, "signals": ["small", "competitive"]},
    }  # fmt: skip


def prompt(number: int) -> str:
    """Give the prompt of 100 KB of attempt `number`."""
    line = f"Attempt {number}: use only the evidence below, and cite each claim by its number.\n"
    return (line * (PROMPT_BYTES // len(line) + 1))[:PROMPT_BYTES]


class Pipeline:
    """What all programs are made of: recording, and saying so."""

    def __init__(self, orders: int, reports: int) -> None:
        """Take orders from one file handle, and report to another (or the same)."""
        self._orders = orders
        self._reports = reports

    def orders(self) -> Iterator[list[str]]:
        """Give the orders, each as its words, until `end` or the end of the file."""
        with open(self._orders, encoding="utf-8", closefd=False) as lines:
            for line in lines:
                if line == "end\n":
                    return
                yield line.split()

    def report(self, *words: object) -> None:
        """Say a line."""
        os.write(self._reports, (" ".join(map(str, words)) + "\n").encode())

    def decide(self, trace: Trace, number: int) -> None:
        """Take a decision."""
        ire_otel.decide("chose_option", **decision(number))
        self.report(trace.trace_id, "decision", number)

    def iteration(self, trace: Trace, numbers: Iterator[int], attempt: int) -> None:
        """Go through all stages once: 40 decisions, a prompt of 100 KB, evidence, a score."""
        for name in STAGES:
            with ire_otel.stage(name, component="Orchestrator") as stage:
                for _ in range(DECISIONS):
                    self.decide(trace, next(numbers))
                if name == "synthesis":
                    stage.prompts(**{f"prompt_{attempt}": prompt(attempt)})
                    self.report(trace.trace_id, "prompts", attempt)
                if name == "collection":
                    stage.evidence(collected_count=attempt, kept=[{"url": f"https://source.example/{attempt}"}])
                    self.report(trace.trace_id, "evidence", attempt)
                if name == "quality_gate":
                    stage.score(f"META-{attempt}", attempt % 4, feedback="thin on prices")
                    self.report(trace.trace_id, "score", attempt)

    def endless(self) -> None:
        """One run that goes on until it is killed, or until its orders end."""
        told = threading.Event()

        def wait_for_the_end() -> None:
            list(self.orders())
            told.set()

        threading.Thread(target=wait_for_the_end, daemon=True).start()
        with ire_otel.run("endless", project_name=PROJECT) as trace:
            self.report(trace.trace_id, "run")
            numbers = count()
            for attempt in count():
                self.iteration(trace, numbers, attempt)
                if told.is_set():
                    break
        self.report(trace.trace_id, "ended")

    def threads(self) -> None:
        """One run in which several threads decide until they are killed."""
        with ire_otel.run("threads", project_name=PROJECT) as trace:
            self.report(trace.trace_id, "run")
            threads = []
            for thread in range(THREADS):
                context = contextvars.copy_context()
                threads.append(threading.Thread(target=context.run, args=(self._on_a_thread, trace, thread * APART)))
                threads[-1].start()
            for one in threads:
                one.join()

    def _on_a_thread(self, trace: Trace, first: int) -> None:
        with ire_otel.stage(f"thread_{first // APART}"):
            for number in count(first):
                self.decide(trace, number)

    def short(self) -> None:
        """Short runs, one after the other, while the worker writes those before."""
        ire_otel.configure()
        for number in count():
            self.run(1 + number % 5)

    def run(self, decisions: int) -> None:
        """Make one run of one stage."""
        with ire_otel.run("short", project_name=PROJECT) as trace:
            self.report(trace.trace_id, "run")
            with ire_otel.stage("intake"):
                for number in range(decisions):
                    self.decide(trace, number)
        self.report(trace.trace_id, "ended")

    def driven(self) -> None:
        """What its orders say.

        `run N` makes a run of N decisions; `open` begins a run, `decide FROM TO` decides in it, `close` ends it; `flush
        SECONDS` and `shutdown SECONDS` report what they gave.
        """
        ire_otel.configure()
        self.report("worker", *(thread.native_id for thread in threading.enumerate() if "worker" in thread.name))
        trace: Trace | None = None
        for order, *rest in self.orders():
            if order == "run":
                self.run(int(rest[0]))
            elif order == "open":
                trace = ire_otel.run("driven", project_name=PROJECT)
                self.report(trace.trace_id, "run")
            elif order == "decide" and trace is not None:
                for number in range(int(rest[0]), int(rest[1])):
                    self.decide(trace, number)
                self.report("decided")
            elif order == "close" and trace is not None:
                with trace:
                    pass
                self.report(trace.trace_id, "ended")
            elif order in {"flush", "shutdown"}:
                done = (ire_otel.flush if order == "flush" else ire_otel.shutdown)(float(rest[0]))
                self.report(order, done)

    def recover(self) -> None:
        """Run `ire-otel recover`, where everything is loaded already, when it is ordered to `go`."""
        from ire_otel import cli

        sys.argv[1:] = ["recover"]
        self.report("ready", threading.get_native_id())
        next(self.orders())
        self.report("begun")
        cli.main()


PROGRAMS: Final[dict[str, Callable[[Pipeline], None]]] = {
    "driven": Pipeline.driven,
    "endless": Pipeline.endless,
    "recover": Pipeline.recover,
    "short": Pipeline.short,
    "threads": Pipeline.threads,
}


def begin(program: str, folder: Path, settings: dict[str, str], handle: int) -> None:
    """Run a program in a process that was forked for it; its log goes to the file `log` in its folder."""
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(log, standard)
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    os.environ.pop("IRE_OTEL_RAISE", None)
    os.environ.update({f"IRE_OTEL_{name.upper()}": value for name, value in settings.items()})
    PROGRAMS[program](Pipeline(handle, handle))


if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](Pipeline(0, 1))
