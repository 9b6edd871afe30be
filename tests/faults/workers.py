"""What the processes of the tests run that take part in a run together: one begins it, the other continues it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from opentelemetry.context import attach, detach
from opentelemetry.propagate import extract, inject

import ire_otel
from tests.faults.programs import call, die, in_child, say, wait_for

ROOT_ENDED: Final = Path("root-ended")
"""Made when the run of the first process has ended, and is written."""


@contextmanager
def carried(carrier: dict[str, str]) -> Iterator[None]:
    """Continue what another process began."""
    token = attach(extract(carrier)) if carrier else None
    try:
        yield
    finally:
        if token is not None:
            detach(token)


def work(end: str, carrier: dict[str, str] | None = None) -> None:
    """Be the worker: record in the other process's run, and end."""
    if carrier:
        ire_otel.configure()
    with carried(carrier or {}):
        say("worker in the root's stage")
        joined = ire_otel.current_run()
        if (
            joined is not None and joined.trace_id
        ):  # TRACEPARENT alone says neither us nor instrumentation which run it is
            call("worker's call in the root's stage")
        with ire_otel.stage("worker"):
            say("worker in its stage")
            call("worker's call in its stage")
            if end == "outlives":
                wait_for(ROOT_ENDED.exists)
                time.sleep(0.5)
                say("worker after the root")
                call("worker's call after the root")
        if end == "killed":
            die()


def work_alone(end: str) -> None:
    """Be the worker that was told of the run by its environment."""
    ire_otel.configure()
    work(end)


def root(carry: str, end: str) -> None:
    """Have a worker in the middle of a run; `end` says what becomes of the worker, or of this process."""
    ire_otel.configure()
    with ire_otel.run(query=carry):
        with ire_otel.stage("collection"):
            say("root before")
            wait = start_worker(carry, end if end != "orphan" else "outlives")
            if end == "orphan":
                wait_for(Path("told").exists)
                say("root last")
                ROOT_ENDED.touch()
                die()
            if end != "outlives":
                wait()
        say("root after")
    ire_otel.flush()
    ROOT_ENDED.touch()


def start_worker(carry: str, end: str) -> Callable[[], object]:
    """Start the worker in one of the ways in which a run reaches it; gives what waits for it."""
    carrier: dict[str, str] = {}
    inject(carrier)
    if carry == "fork":
        pid = in_child(lambda: work(end))
        return lambda: os.waitpid(pid, 0)
    if carry in {"spawn", "forkserver"}:
        context: Any = multiprocessing.get_context(carry)
        worker = context.Process(target=work, args=(end, carrier))
        worker.start()
        return worker.join  # type: ignore[no-any-return] # multiprocessing's contexts are not typed
    named = {"environment": ("traceparent", "baggage"), "TRACEPARENT": ("traceparent",)}[carry]
    told = {name.upper(): value for name, value in carrier.items() if name in named}
    code = f"from tests.faults.workers import work_alone; work_alone({end!r})"
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | told).wait
