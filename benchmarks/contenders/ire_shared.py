"""ire-otel inside a tracer provider of the application, whose processors see all of its spans."""

from pathlib import Path
from typing import Final

from opentelemetry.sdk.trace import TracerProvider

from benchmarks.contenders import Contender, ire

TITLE: Final = "ire-otel, shared"
PACKAGES: Final = ire.PACKAGES


def make(sink: str, folder: Path) -> Contender:  # noqa: ARG001 # as all contenders are made
    """Write into the folder."""
    return ire.Ire(folder / "brain", TracerProvider())
