"""Components: what takes decisions, and how a decision learns whose it is."""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_own_methods: set[int] = set()
"""Ids of the code objects of all methods of TracingComponents; those live as long as their classes."""


class TracingComponent(ABC):
    """A component of the pipeline that takes decisions.

    Deriving from it is optional. What it gives: every decision recorded from one of its methods carries
    `component_name`, and tests can hold what it recorded against `get_trace_schema`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note the methods of the new component, so that decisions taken in them are known to be its own."""
        super().__init_subclass__(**kwargs)
        for member in vars(cls).values():
            function = inspect.unwrap(member) if callable(member) else getattr(member, "fget", None)
            code = getattr(function, "__code__", None)
            if code is not None:
                _own_methods.add(id(code))

    @property
    @abstractmethod
    def component_name(self) -> str:
        """Unique name of this component in traces, e.g. `rubric_loader`."""
        ...

    @abstractmethod
    def get_trace_schema(self) -> dict[str, Any]:
        """Say what this component can record: `{"decisions": [types], "outputs": [keys]}`."""
        ...

    def decide(self, decision: str, **given: Any) -> None:
        """Record a decision of this component; arguments as those of `ire_otel.decide`."""
        from ire_otel.recording.api import decide  # the public function knows components, not the reverse

        decide(decision, **{"component": self, **given})


def name_of(component: object) -> str | None:
    """Give the name that `component=` means: a TracingComponent's own, a string, else its type's name."""
    if component is None or type(component) is str:
        return component
    if isinstance(component, TracingComponent):
        return component.component_name
    return component if isinstance(component, str) else type(component).__qualname__


def calling(frame: FrameType) -> tuple[str, bool]:
    """Say who calls from `frame`: (name, whether it is a TracingComponent rather than a mere function)."""
    code = frame.f_code
    if id(code) in _own_methods and code.co_argcount:
        instance = frame.f_locals.get(code.co_varnames[0])
        if isinstance(instance, TracingComponent):
            return instance.component_name, True
    return code.co_qualname, False


def caller(depth: int) -> FrameType:
    """Give the frame `depth` calls above the function that asks."""
    return sys._getframe(depth + 1)  # noqa: SLF001 # the documented, if underscored, way; inspect.stack reads files
