"""The tracer provider that runs are traced in: the application's where it has one, else one of ours."""

from __future__ import annotations

import functools
import os
import random
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Tracer

from ire_otel import semconv
from ire_otel.processor import RunProcessor
from ire_otel.recording.guard import warn_once

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

UNLIMITED: Final = SpanLimits(
    max_attributes=SpanLimits.UNSET,
    max_span_attributes=SpanLimits.UNSET,
    max_events=SpanLimits.UNSET,
    max_links=SpanLimits.UNSET,
    max_event_attributes=SpanLimits.UNSET,
    max_link_attributes=SpanLimits.UNSET,
)
"""The run log has no limits either, so spans of a provider of ours hold all that it holds."""


class _OwnIds(RandomIdGenerator):
    """Ids that no experiment makes come again: OpenTelemetry takes its own from `random`, which pipelines seed."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 # not SystemRandom, which would give up the interpreter's lock
        os.register_at_fork(after_in_child=self._random.seed)

    def generate_span_id(self) -> int:
        """Give a span id."""
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        """Give a trace id."""
        return self._random.getrandbits(128) or 1


_ids = _OwnIds()


def tracer_of(provider: TracerProvider) -> Tracer:
    """Give the tracer for runs and stages, with ids of ours unless the provider makes ids in a way of its own."""
    tracer = provider.get_tracer(semconv.SCOPE, version("ire-otel"))
    if type(getattr(tracer, "id_generator", None)) is RandomIdGenerator:
        cast("Any", tracer).id_generator = _ids
    return tracer


@functools.cache
def _resource() -> Resource:
    """Describe this process as OpenTelemetry does; once, for that starts threads, which one that exits refuses."""
    return Resource.create()


class OwnProvider(TracerProvider):
    """A provider of ours, which knows whether anybody else looks at its spans."""

    watched = False

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor."""
        self.watched = self.watched or not isinstance(span_processor, RunProcessor)
        super().add_span_processor(span_processor)


def choose(given: TracerProvider | None, *, may_set_global: bool) -> tuple[TracerProvider, bool]:
    """Choose the provider: (provider, whether it is private, so that foreign spans do not come by)."""
    if given is not None:
        return given, False
    application = of_application()
    if application is not None:
        return application, False
    current = otel.get_tracer_provider()
    made = OwnProvider(span_limits=UNLIMITED, resource=_resource(), id_generator=_ids, shutdown_on_exit=False)
    if may_set_global and isinstance(current, otel.ProxyTracerProvider):
        otel.set_tracer_provider(made)
        return made, False
    if not isinstance(current, otel.ProxyTracerProvider):
        kind = type(current).__qualname__
        warn_once("the tracer provider %s takes no span processors; runs are traced beside it", kind)
    return made, True


def of_application() -> TracerProvider | None:
    """Give the provider that the application has set, if it takes span processors."""
    current = otel.get_tracer_provider()
    return cast("TracerProvider", current) if hasattr(current, "add_span_processor") else None
