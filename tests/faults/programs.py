"""What the processes of the tests run: small pipelines that end in every way there is.

Each decision is said on standard output once `decide` has returned: what was said has to be found, each once.
"""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Final

from opentelemetry import trace as otel

import ire_otel
from ire_otel import semconv

FOREVER: Final = 60
"""Seconds that somebody waits who is going to be killed."""
FORKS: Final = 20
EVERY: Final = 0.01
"""Seconds between two looks."""


def tell(line: str) -> None:
    """Print a line in one piece, whatever other processes print, and whatever ends this one next."""
    os.write(1, f"{line}\n".encode())


def say(what: str) -> None:
    """Take a decision, then tell of it; outside a run (another thread may have ended it) there is nothing to tell."""
    ire_otel.decide("said", what=what, why="because")
    if ire_otel.current_run() is not None:
        tell(f"said {what}")


def call(what: str, *, told: bool = True) -> None:
    """Call a model, as instrumentation sees it: a span that is not ours. Its event shows where it is put."""
    with otel.get_tracer("instrumentation").start_as_current_span("chat model") as span:
        span.add_event("decision: said", {semconv.DECISION_TYPE: "said", semconv.DECISION_WHAT: what})
    if told:
        tell(f"said {what}")


def small_run(name: str) -> None:
    """Trace a whole run."""
    with ire_otel.run(query=name), ire_otel.stage("intake"):
        say(name)


def wait_for(true: Callable[[], object]) -> None:
    """Wait for another process."""
    deadline = time.monotonic() + FOREVER
    while not true() and time.monotonic() < deadline:
        time.sleep(EVERY)


def die() -> None:
    """As the kernel's out-of-memory killer does it."""
    os.kill(os.getpid(), signal.SIGKILL)


# -- one process ------------------------------------------------------------------------------------------------------


def ending(how: str) -> None:
    """End a process in the middle of a run."""
    ire_otel.configure()
    with ire_otel.run(query=how), ire_otel.stage("intake"):
        say("first")
        if how == "exception":
            raise ValueError("boom")
        if how == "sys.exit":
            sys.exit(3)
        if how == "os._exit":
            os._exit(4)
        if how == "SIGKILL":
            die()
        if how != "normal":
            tell("ready")
            time.sleep(FOREVER)


def handled(where: str) -> None:
    """Have a SIGTERM handler of the application's own: set before or after ours, or calling the one before it."""
    asked = threading.Event()
    before: Any = None

    def stop(number: int, frame: FrameType | None) -> None:
        asked.set()
        if callable(before):
            before(number, frame)

    if where == "before":
        signal.signal(signal.SIGTERM, stop)
    ire_otel.configure()
    if where == "after":
        signal.signal(signal.SIGTERM, stop)
    elif where == "chained":
        before = signal.signal(signal.SIGTERM, stop)
    with ire_otel.run(query=where), ire_otel.stage("intake"):
        say("first")
        tell("ready")
        asked.wait(FOREVER)
        say("last")
    ire_otel.shutdown()
    tell(f"handler {'stays' if signal.getsignal(signal.SIGTERM) is stop else 'is gone'}")


def handled_by_asyncio() -> None:
    """Stop a run as asyncio applications do it: the signal cancels the task."""

    async def pipeline() -> None:
        async with ire_otel.run(query="asyncio"):
            say("first")
            tell("ready")
            await asyncio.sleep(FOREVER)

    async def main() -> None:
        ire_otel.configure()
        task = asyncio.create_task(pipeline())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            tell("cancelled")

    asyncio.run(main())


def fifty_runs() -> None:
    """Have fifty runs open when the signal comes."""

    async def pipeline(number: int, open_runs: asyncio.Barrier) -> None:
        async with ire_otel.run(query=str(number)), ire_otel.stage("intake"):
            say(f"first of {number}")
            await asyncio.sleep(EVERY)
            say(f"second of {number}")
            await open_runs.wait()
            await asyncio.sleep(FOREVER)

    async def main() -> None:
        ire_otel.configure()
        open_runs = asyncio.Barrier(51)
        tasks = [asyncio.create_task(pipeline(number, open_runs)) for number in range(50)]
        await open_runs.wait()
        tell("ready")
        await asyncio.gather(*tasks)

    asyncio.run(main())


def nested(how: str) -> None:
    """Be killed in a run inside a run, after one that has ended."""
    with ire_otel.run(query="outer"), ire_otel.stage("collection"):
        say("outer first")
        with ire_otel.run(query="ended", output_type="evidence"), ire_otel.stage("intake"):
            say("in the one that ended")
        with ire_otel.run(query="inner", output_type="report"), ire_otel.stage("intake"):
            say("inner")
            if how == "killed":
                die()
        say("outer last")


def recording_threads(kind: str) -> None:
    """Leave the main thread while others record on: threads that the interpreter waits for, or not."""
    begun = threading.Barrier(4)

    def pipeline(number: int) -> None:
        with ire_otel.run(query=str(number)), ire_otel.stage("intake"):
            say(f"{number} first")
            begun.wait()
            for step in range(100):
                time.sleep(EVERY)
                say(f"{number} {step}")

    ire_otel.configure()
    for number in range(3):
        threading.Thread(target=pipeline, args=(number,), daemon=kind == "daemon").start()
    begun.wait()
    time.sleep(0.2)


def started_at_exit() -> None:
    """Trace runs while the interpreter exits; in threads too, where Python lets them."""

    def pipelines() -> None:
        small_run("at exit")
        thread = threading.Thread(target=small_run, args=("in a thread at exit",))
        thread.start()
        thread.join()

    small_run("main")
    atexit.register(pipelines)


# -- forks ------------------------------------------------------------------------------------------------------------


def in_child(work: Callable[[], None], *, leave: bool = True) -> int:
    """Fork; the child does its work and ends, by the interpreter's own end or at once."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            if leave:
                ire_otel.shutdown()
                os._exit(0)
    return pid


def falls_through() -> None:
    """Fork inside a run; both processes leave the run's block."""
    with ire_otel.run(query="root"), ire_otel.stage("collection"):
        say("before")
        pid = os.fork()
        say("child" if pid == 0 else "parent")
        if pid:
            os.waitpid(pid, 0)
    if pid:
        tell("parent is through")


def child_records() -> None:
    """Fork inside a stage; the child records in it, in a stage of its own, and in a run of its own."""

    def work() -> None:
        say("child in the stage")
        with ire_otel.stage("child"):
            say("child in its stage")
        small_run("child's own run")
        say("child after it")

    with ire_otel.run(query="root"):
        with ire_otel.stage("collection"):
            say("root before")
            pid = in_child(work)
            say("root meanwhile")
            os.waitpid(pid, 0)
        say("root in no stage")


def forks_outside() -> None:
    """Fork between runs; parent and child trace runs of their own, the child's children too."""

    def work() -> None:
        small_run("child")
        os.waitpid(in_child(lambda: small_run("grandchild")), 0)
        small_run("child again")

    small_run("before")
    pid = in_child(work)
    small_run("meanwhile")
    os.waitpid(pid, 0)
    small_run("after")


def forks_while_threads_run() -> None:
    """Fork again and again while other threads trace runs, so that every lock of ours is held at some time."""
    stopped = threading.Event()

    def pipelines(number: int) -> None:
        count = 0
        while not stopped.is_set():
            small_run(f"thread {number} {count}")
            count += 1

    threads = [threading.Thread(target=pipelines, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    pids = []
    for number in range(20):
        pids.append(in_child(lambda number=number: small_run(f"child {number}")))  # type: ignore[misc] # bound early
        time.sleep(0.02)
    for pid in pids:
        os.waitpid(pid, 0)
    stopped.set()
    for thread in threads:
        thread.join()


def forks_while_rows_are_written() -> None:
    """Fork while the worker writes rows, most of the time; say what becomes of the children's rows."""
    stopped = threading.Event()

    def pipelines() -> None:
        while not stopped.is_set():
            with ire_otel.run(query="long") as run:
                for number in range(1000):
                    ire_otel.decide("took", what=number)
            ire_otel.finish_sync(run)

    def work() -> None:
        with ire_otel.run(query="child") as run:
            pass
        tell(f"row {ire_otel.finish_sync(run)['supabase']}")

    ire_otel.configure(finish_timeout=30.0)
    small_run("main")
    ire_otel.flush()
    thread = threading.Thread(target=pipelines)
    thread.start()
    for _ in range(FORKS):
        time.sleep(EVERY * 3)
        os.waitpid(in_child(work), 0)
    stopped.set()
    thread.join()


def prefork() -> None:
    """As gunicorn does it: a master that has traced a run forks workers, which trace runs; the master goes on."""
    ire_otel.configure()
    small_run("master before")

    def serve(number: int) -> None:
        for request in range(5):
            small_run(f"worker {number} request {request}")

    pids = [in_child(lambda number=number: serve(number)) for number in range(3)]  # type: ignore[misc] # bound early
    small_run("master meanwhile")
    for pid in pids:
        os.waitpid(pid, 0)
    small_run("master after")


def terminated_prefork() -> None:
    """As above; the workers are in runs when the master sends them SIGTERM, which none of them handles."""
    ire_otel.configure()
    small_run("master before")

    def serve(number: int) -> None:
        with ire_otel.run(query=f"worker {number}"), ire_otel.stage("intake"):
            say(f"worker {number}")
            Path(f"serving-{number}").touch()
            time.sleep(FOREVER)

    pids = [in_child(lambda number=number: serve(number)) for number in range(3)]  # type: ignore[misc] # bound early
    wait_for(lambda: all(Path(f"serving-{number}").exists() for number in range(3)))
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    tell(f"ended {statuses}")
    small_run("master after")


# -- multiprocessing --------------------------------------------------------------------------------------------------


def multiprocessing_workers(method: str) -> None:
    """Trace runs in the workers of multiprocessing."""
    small_run("main")
    context: Any = multiprocessing.get_context(method)
    workers = [context.Process(target=small_run, args=(f"worker {number}",)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tell(f"ended {[worker.exitcode for worker in workers]}")


def process_pool(method: str) -> None:
    """Trace runs in the workers of a pool of concurrent.futures."""
    small_run("main")
    context: Any = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(small_run, [f"task {number}" for number in range(6)]))
    small_run("main again")
