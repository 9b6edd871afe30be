"""The systems compared, a module each, and what such a module offers to the shared scenarios."""

import importlib
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol, cast

NAMES: Final = ("ire-otel", "otel-batch", "logfire", "mlflow", "langfuse")
_MODULES: Final = {
    "ire-otel": "ire",
    "otel-batch": "otel_batch",
    "logfire": "pydantic_logfire",
    "mlflow": "mlflow_sqlite",
    "langfuse": "langfuse_sdk",
}
_OFFLINE: Final = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "NO_PROXY": "*"}
"""What the peers document for keeping their own telemetry at home."""


class Contender(Protocol):
    """One tracing system, used in its own idiom and with its default settings."""

    PACKAGES: Sequence[str]
    """The distributions whose versions belong to a result."""
    RECOVERY: Sequence[str]
    """The command that the system documents for use after a crash; empty where it has none."""

    def start(self, sink_url: str, folder: Path) -> None:
        """Configure the system to send to the sink, or to store in the folder."""
        ...

    def run(self, number: int) -> AbstractContextManager[Any]:
        """Open a run's root span."""
        ...

    def stage(self, name: str) -> AbstractContextManager[Any]:
        """Open a span under the current one."""
        ...

    def decide(self, text: str) -> None:
        """Record a decision in the current stage."""
        ...

    def carrier(self) -> Mapping[str, str]:
        """Give the current context in the form in which it is handed to another process."""
        ...

    def attached(self, carrier: Mapping[str, str]) -> AbstractContextManager[Any]:
        """Continue, in another process, the context that a carrier holds."""
        ...

    def flush(self) -> None:
        """Do what the system's documentation asks of a process that leaves without its exit handlers."""
        ...

    def kept(self, folder: Path, received: Mapping[int, str]) -> Mapping[int, str]:
        """Give the decisions that are kept: their number, and the trace they are filed under."""
        ...


def contender(name: str) -> Contender:
    """Load a contender. Raises ModuleNotFoundError where its packages are not installed."""
    os.environ.update(_OFFLINE)  # some report home as soon as they are imported
    return cast("Contender", importlib.import_module(f"{__name__}.{_MODULES[name]}"))
