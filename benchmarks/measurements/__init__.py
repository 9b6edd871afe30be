"""What is measured, a module each.

Such a module has a TITLE, a REMARK that says how it is measured, `measure(scale)`, which gives figures,
`goals(figures)`, which holds them against what ire-otel means to keep, and in CHARTS the figures to draw.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, cast

from benchmarks.results import Figure, Figures, Goal, Scale

FIRST: Final = ("cost", "steps", "stall", "decisions", "disabled", "queryable")
"""Told first: what a pipeline feels."""


class Measurement(Protocol):
    """A measurement's module."""

    TITLE: str
    REMARK: str
    CHARTS: Sequence[str]

    def measure(self, scale: Scale) -> list[Figure]:
        """Measure. Raises RuntimeError where it cannot be done here."""
        ...

    def goals(self, figures: Figures) -> Iterable[Goal]:
        """Hold figures against goals."""
        ...


def names() -> list[str]:
    """Give all measurements, in the order in which they are made and told."""
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    return [*FIRST, *sorted(set(found) - set(FIRST))]


def measurement(name: str) -> Measurement:
    """Give a measurement's module."""
    return cast("Measurement", importlib.import_module(f"{__name__}.{name}"))
