"""What is compared, a module each, and what such a module offers.

A contender's module has a TITLE, the PACKAGES whose versions belong to a result, and `make(sink, folder)`. It imports
what may not be installed only in there.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar, Final, Protocol, cast

import msgspec

from benchmarks import reference
from benchmarks.results import Scale

FIRST: Final = ("bare", "ire", "ire_shared", "otel_batch")
"""Shown before the others; these need no peer."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what a contender recorded has arrived where it belongs, in spans or rows of its own."""

    recorded: int
    kept: int


class Contender(ABC):
    """One way of tracing, in its own idiom and with its default settings."""

    spans_of_decision: ClassVar[int] = 0
    """How many spans of its own a decision is, beside those of the run and its stages."""
    spans_of_score: ClassVar[int] = 0
    """Likewise a score."""

    def __init__(self) -> None:
        # Appending is safe on any thread.
        self._runs: list[int | None] = []

    def record(self) -> None:
        """Record the reference run once, on the calling thread."""
        self.reference_run()
        self._runs.append(None)

    def record_decisions(self, decisions: Sequence[reference.Decision]) -> None:
        """Record a run with one stage of these decisions."""
        self.decisions_run(decisions)
        self._runs.append(len(decisions))

    def close(self) -> Kept:
        """Stop, and compare what was recorded with what was kept."""
        return Kept(recorded=sum(map(self.spans, self._runs)), kept=self.stop())

    @abstractmethod
    def reference_run(self) -> None:
        """Record the reference run."""

    @abstractmethod
    def decisions_run(self, decisions: Iterable[reference.Decision]) -> None:
        """Record the other kind of run."""

    @abstractmethod
    def settle(self) -> None:
        """Wait until everything recorded so far is where it is meant to end up."""

    def clean(self) -> None:  # noqa: B027 # most write nothing here
        """Take away what was written, or later rounds would measure a growing folder. Not measured."""

    def spans(self, decisions: int | None) -> int:
        """Give the number of spans, or rows, that belong to a run with so many decisions; None: the reference run."""
        if decisions is not None:
            return 2 + self.spans_of_decision * decisions
        return 1 + sum(
            1 + self.spans_of_decision * len(stage.decisions) + self.spans_of_score * len(stage.scores)
            for stage in reference.STAGES
        )

    @abstractmethod
    def stop(self) -> int:
        """Stop, and give the number of spans, or rows, that have arrived."""


class Module(Protocol):
    """A contender's module."""

    TITLE: str
    PACKAGES: Sequence[str]

    def make(self, sink: str, folder: Path) -> Contender:
        """Configure the contender to send to the sink, a URL, or to store in the folder."""
        ...


def names() -> list[str]:
    """Give all contenders, those that need no peer first."""
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    return [*FIRST, *sorted(set(found) - set(FIRST))]


def module(name: str) -> Module:
    """Give a contender's module."""
    return cast("Module", importlib.import_module(f"{__name__}.{name}"))


def versions(name: str) -> dict[str, str]:
    """Give the versions of what a contender needs. Raises PackageNotFoundError."""
    return {package: version(package) for package in module(name).PACKAGES}


def absent() -> dict[str, str]:
    """Say of each contender that cannot take part why not."""
    missing = {}
    for name in names():
        try:
            versions(name)
        except PackageNotFoundError as error:
            missing[name] = f"{error}; see the dependency group `peers`"
    return missing


def present() -> list[str]:
    """Give the contenders that can take part."""
    missing = absent()
    return [name for name in names() if name not in missing]


def taking_part(scale: Scale) -> list[str]:
    """Give the contenders that are measured: all that can be, or for the tests those that need no peer."""
    return list(FIRST) if scale is Scale.SMALLEST else present()
