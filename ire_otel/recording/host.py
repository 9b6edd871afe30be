"""What recording needs of the runtime above it, and how it gets it at the first run."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from opentelemetry.trace import Tracer

    from ire_otel.recording.process import Clock
    from ire_otel.recording.run import Trace
    from ire_otel.records import ExportOutcome
    from ire_otel.runlog import RunLog
    from ire_otel.settings import Settings


class Host(Protocol):
    """The configured runtime, as recording sees it."""

    settings: Settings
    foreign_spans: str | None
    """`sampled` where spans of others may be missing from runs, None otherwise."""

    def records(self, project: str | None) -> bool:
        """Tell whether runs of `project` are traced."""
        ...

    def tracer(self) -> Tracer:
        """Give the tracer that makes run and stage spans."""
        ...

    def clock(self) -> Clock:
        """Give the clock of a new run; its stages and child runs share it."""
        ...

    def mirrors(self) -> bool:
        """Tell whether anybody but ire-otel itself reads the spans of new runs."""
        ...

    def resource(self) -> Mapping[str, Any]:
        """Give the OpenTelemetry resource attributes of this process."""
        ...

    def log(self, run_id: str, trace_id: str) -> RunLog:
        """Give the log of a new run; trace_id is OpenTelemetry's."""
        ...

    def joined_log(self, run_id: str, trace_id: str) -> RunLog:
        """Give the log of this process's part in a run that another began; run_id is empty where nobody says it."""
        ...

    def open_run(self, run_id: str) -> Trace | None:
        """Give a run that this process has open."""
        ...

    def opened(self, trace: Trace) -> None:
        """Learn that a run began: foreign spans stamped with its id belong to its log from now on."""
        ...

    def closed(self, log: RunLog) -> Future[ExportOutcome | None]:
        """Take a finished run; the future has its outcome, or None where no exporter writes files and rows."""
        ...

    def late(self, log: RunLog) -> None:
        """Learn that a finished run's log has grown."""
        ...

    def before_fork(self, timeout: float) -> None:
        """Wait, at most `timeout` seconds, until nothing is being imported in the background."""
        ...


_host: Host | None = None
_bootstrap: Callable[[], Host] | None = None
FORK_WAIT: Final = 30.0
"""Seconds that a fork waits at most for other threads to have imported what they need."""
_locks = [threading.RLock()]
_held: list[bool] = []
"""Of forks under way."""


def lock() -> AbstractContextManager[Any]:
    """Give the lock under which the host is made or replaced; a forked child has its own."""
    return _locks[0]


def _before_fork() -> None:
    """Let nobody be in the middle of an import: a child would inherit the module's lock, and wait for ever."""
    _held.append(_locks[0].acquire(timeout=FORK_WAIT))
    if _host is not None:
        _host.before_fork(FORK_WAIT)


def _after_fork() -> None:
    if _held and _held.pop():
        _locks[0].release()


def _in_child() -> None:
    _held.clear()
    _locks[0] = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def on_first_use(bootstrap: Callable[[], Host]) -> None:
    """Say what makes the host when the first run begins and nobody configured one."""
    global _bootstrap  # noqa: PLW0603 # one composition root a process
    _bootstrap = bootstrap


def install(host: Host | None) -> None:
    """Make `host` the one that new runs use; None: the next run makes a new one."""
    global _host  # noqa: PLW0603 # one composition root a process
    _host = host


def installed() -> Host | None:
    """Give the host in use, if there is one."""
    return _host


def host() -> Host:
    """Give the host, made now if need be."""
    if _host is not None:
        return _host
    with lock():
        if _host is None:
            if _bootstrap is None:
                raise RuntimeError("ire_otel.recording was imported without ire_otel")
            install(_bootstrap())
    return _host  # type: ignore[return-value] # installed just now
