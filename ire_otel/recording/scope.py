"""The current run and stage. They travel in the OpenTelemetry Context, so whatever carries that carries them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, create_key, get_current, get_value, set_value

from ire_otel.semconv import BAGGAGE_RUN, BAGGAGE_STAGE

if TYPE_CHECKING:
    from ire_otel.recording.run import Trace

_SCOPE = create_key("ire-otel-scope")


class Scope(Protocol):
    """A run or a stage, as a place that decisions belong to."""

    @property
    def ended(self) -> bool:
        """Whether it has ended, so that nothing belongs to it any more."""
        ...

    @property
    def enclosing(self) -> Scope | None:
        """The scope that was current when this one began."""
        ...

    @property
    def trace(self) -> Trace:
        """The run."""
        ...

    @property
    def span_id(self) -> str:
        """The id of its span."""
        ...

    @property
    def context(self) -> Context:
        """The OpenTelemetry Context in which this scope and its span are current."""
        ...

    @property
    def before(self) -> Context:
        """The Context that was current when this scope began."""
        ...


def current() -> Scope | None:
    """Give the innermost run or stage that is open here."""
    return innermost_open(get_value(_SCOPE))  # type: ignore[arg-type] # nobody else has the key


def within(context: Context) -> Scope | None:
    """Give the innermost open run or stage of another context."""
    return innermost_open(get_value(_SCOPE, context))  # type: ignore[arg-type] # nobody else has the key


def innermost_open(scope: Scope | None) -> Scope | None:
    """Give `scope`, or the nearest one around it that has not ended."""
    while scope is not None and scope.ended:
        scope = scope.enclosing
    return scope


def context_of(scope: Scope, span: trace.Span, run_id: str, stage_span_id: str | None) -> Context:
    """Give the current Context with `scope` and its span in it, and their ids as baggage for other processes."""
    context = trace.set_span_in_context(span, set_value(_SCOPE, scope))
    context = baggage.set_baggage(BAGGAGE_RUN, run_id, context)
    if stage_span_id is not None:
        context = baggage.set_baggage(BAGGAGE_STAGE, stage_span_id, context)
    return context


def parent_context(enclosing: Scope, now: Context) -> Context:
    """Give the context whose span a new stage hangs under: the current one, if it belongs to `enclosing`."""
    return now if get_value(_SCOPE, now) is enclosing else enclosing.context


def disabled_context(scope: Scope) -> Context:
    """Give the current Context with a scope that records nothing."""
    return set_value(_SCOPE, scope)


def enter(scope: Scope) -> None:
    """Make a scope the current one."""
    attach(scope.context)


def leave(scope: Scope) -> None:
    """Take a scope that ended off the current context, if it is there at all.

    Tokens are of no use here: a stage may end in another task, or in another order, than it began, and a token is then
    refused with an error. What counts is where we stand now: on this very scope, and what it covered is restored.
    """
    now = get_current()
    if get_value(_SCOPE, now) is not scope:
        return
    around = innermost_open(scope.enclosing)
    if now is not scope.context:
        attach(set_value(_SCOPE, around, now))  # the pipeline put something of its own on top: keep that
    elif around is scope.enclosing:
        attach(scope.before)
    elif around is not None:
        attach(around.context)
    else:
        while scope.enclosing is not None:
            scope = scope.enclosing
        attach(scope.before)
