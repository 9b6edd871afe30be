"""What the processes of the tests run that measure: many runs, many spans, long texts, runs whose database is away."""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import threading
import time
from contextlib import ExitStack
from typing import Final

from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider

import ire_otel
from tests.faults.programs import call, die, small_run, tell

STAGES: Final = ("intake", "rubric", "collection", "synthesis", "quality_gate")
RUNS_A_TURN: Final = 20
PAUSE: Final = 0.005
"""Seconds between two runs, in which the worker can do its own work: what is measured is whether the caller waits."""
HALT: Final = 1.0
"""Seconds in which what is left in memory can be looked at."""


# -- databases --------------------------------------------------------------------------------------------------------


def runs_and_then(count: str, end: str) -> None:
    """Trace runs, then end while their rows cannot be written."""
    ire_otel.configure()
    for number in range(int(count)):
        small_run(f"run {number}")
    tell("ready")
    if end == "is killed":
        time.sleep(1)
        die()


def turns() -> None:
    """Trace a few runs for each line of input; print how long each run and each decision took, in nanoseconds."""
    ire_otel.configure()
    for _ in sys.stdin:
        taken: dict[str, list[int]] = {"decide": [], "run": []}
        for _ in range(RUNS_A_TURN):
            began = time.perf_counter_ns()
            research(taken["decide"])
            taken["run"].append(time.perf_counter_ns() - began)
            time.sleep(PAUSE)
        tell(json.dumps(taken))


def research(decides: list[int]) -> None:
    """Trace a run of five stages and ten decisions; `decides` gets what each of these took."""
    with ire_otel.run(query="What does it cost?", project_name="load", intent="validating"):
        for name in STAGES:
            with ire_otel.stage(name) as stage:
                for option in ("first", "second"):
                    began = time.perf_counter_ns()
                    ire_otel.decide(
                        f"chose_{option}", what=option, why="it scored best", confidence=0.8, alternatives=["none"]
                    )
                    decides.append(time.perf_counter_ns() - began)
                stage.set_outputs({"sources": 12, "kept": 7})


# -- load -------------------------------------------------------------------------------------------------------------


def load(count: str, threads: str) -> None:
    """Trace so many runs as fast as they go, on so many threads; say when the last has ended, and when all is safe."""
    ire_otel.configure(shutdown_timeout=300.0)
    begun = time.perf_counter()

    def pipelines() -> None:
        for _ in range(int(count) // int(threads)):
            research([])

    workers = [threading.Thread(target=pipelines) for _ in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tell(f"recorded {time.perf_counter() - begun}")
    ire_otel.flush(300)
    tell(f"written {time.perf_counter() - begun}")
    time.sleep(HALT)


# -- hostile spans ----------------------------------------------------------------------------------------------------


def many_spans(count: str, inside: str) -> None:
    """Make many spans that are not ours, in a run or in none; say how long the pipeline took, and the memory."""
    ire_otel.configure()
    small_run("first")
    ire_otel.flush()
    before = _most_memory()
    with ExitStack() as stack:
        if inside == "in a run":
            stack.enter_context(ire_otel.run(query="many"))
            stack.enter_context(ire_otel.stage("collection"))
        began = time.perf_counter()
        for number in range(int(count)):
            call(f"{number}", told=False)
        took = time.perf_counter() - began
    ire_otel.flush()
    tell(json.dumps({"seconds": took, "bytes": _most_memory() - before}))


def large_prompts(megabytes: str) -> None:
    """Record prompts of a megabyte each in one run; say how long that took, and how much memory it took at most."""
    ire_otel.configure()
    small_run("first")
    ire_otel.flush()
    before, text = _most_memory(), "word " * 200_000
    with ire_otel.run(query="large") as run:
        began = time.perf_counter()
        for number in range(int(megabytes)):
            run.record_prompts(f"stage {number}", {"system_prompt": f"{number} {text}"})
        took = time.perf_counter() - began
    ire_otel.flush()
    tell(json.dumps({"seconds": took, "bytes": _most_memory() - before}))


def limited(whose: str) -> None:
    """Trace under OpenTelemetry's limits of the environment, with a provider of ours or of the application."""
    if whose == "the application's":
        otel.set_tracer_provider(TracerProvider())
    ire_otel.configure()
    with ire_otel.run(query="long " * 100, intent="validating") as run, ire_otel.stage("collection") as stage:
        for number in range(300):
            what, inputs = f"{number} {'what ' * 100}", {"texts": ["in " * 100] * 9}
            ire_otel.decide("said", what=what, why="why " * 100, inputs=inputs)
        stage.prompts(**{f"prompt_{number}": "text " * 100 for number in range(50)})
        stage.set_outputs({"path": "out/" * 100})
        call("cut " * 100, told=False)
        run.set_outputs({"report_path": "r/" * 100})


def seeded(whose: str) -> None:
    """Trace a run with a random generator that begins the same every time, as experiments do."""
    random.seed(42)
    if whose == "the application's":
        otel.set_tracer_provider(TracerProvider())
    ire_otel.configure()
    small_run(str(os.getpid()))


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
