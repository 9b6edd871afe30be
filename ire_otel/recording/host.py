"""What recording needs of the runtime above it, and how it gets it at the first run."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

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


_host: Host | None = None
_bootstrap: Callable[[], Host] | None = None
_locks = [threading.RLock()]
os.register_at_fork(after_in_child=lambda: _locks.__setitem__(0, threading.RLock()))


def lock() -> AbstractContextManager[Any]:
    """Give the lock under which the host is made or replaced; a forked child has its own."""
    return _locks[0]


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
