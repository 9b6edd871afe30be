"""The current run and stage. They travel in the OpenTelemetry Context, so whatever carries that carries them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, create_key, get_current, set_value

from ire_otel.recording.process import identity
from ire_otel.semconv import BAGGAGE_RUN, BAGGAGE_STAGE

if TYPE_CHECKING:
    from ire_otel.recording.run import Trace

_SCOPE = create_key("ire-otel-scope")


class Scope(Protocol):
    """A run or a stage, as a place that decisions belong to."""

    silent: bool
    """Whether nothing is recorded while it is current."""

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
    def stage_span_id(self) -> str | None:
        """The id of the stage's span; None where this is no stage."""
        ...

    @property
    def context(self) -> Context:
        """The OpenTelemetry Context in which this scope and its span are current."""
        ...

    @property
    def before(self) -> Context:
        """The Context that was current when this scope began."""
        ...


_elsewhere: list[Callable[[Scope | None], Scope | None]] = []


def look_elsewhere(find: Callable[[Scope | None], Scope | None]) -> None:
    """Say what finds our place in a run that another process began; it is given what a fork left us, if anything."""
    _elsewhere[:] = [find]


def current() -> Scope | None:
    """Give the innermost run or stage that is open here."""
    here: Scope | None = get_current().get(_SCOPE)  # type: ignore[assignment] # nobody else has the key
    if here is None:
        return _elsewhere[0](None)
    found = innermost_open(here) if here.ended else here
    return found if found is None or found.trace.process is identity.id else _elsewhere[0](found)


def within(context: Context) -> Scope | None:
    """Give the innermost open run or stage of another context."""
    return innermost_open(scope_of(context))


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
    """Give the context whose span a new span hangs under: the current one, if it belongs to `enclosing`."""
    return now if scope_of(now) is enclosing else enclosing.context


def _rebased(context: Context, around: Scope | None) -> Context:
    """Give a context in which `around` is current, with its ids, or nobody's, as baggage."""
    context = baggage.remove_baggage(BAGGAGE_STAGE, set_value(_SCOPE, around, context))
    if around is None or not around.trace.recording:
        return baggage.remove_baggage(BAGGAGE_RUN, context)
    context = baggage.set_baggage(BAGGAGE_RUN, around.trace.trace_id, context)
    stage = around.stage_span_id
    return context if stage is None else baggage.set_baggage(BAGGAGE_STAGE, stage, context)


def with_scope(scope: Scope, context: Context) -> Context:
    """Give a Context in which a scope that has no span is current."""
    return Context({**context, _SCOPE: scope})


def scope_of(context: Context) -> Scope | None:
    """Give the scope that a Context was made for, ended or not."""
    return context.get(_SCOPE)  # type: ignore[return-value] # nobody else has the key


def is_silent() -> bool:
    """Tell whether a run that records nothing is current."""
    here: Scope | None = get_current().get(_SCOPE)  # type: ignore[assignment] # nobody else has the key
    return here is not None and here.silent and not here.ended


def enter(scope: Scope) -> None:
    """Make a scope the current one."""
    attach(scope.context)


def leave(scope: Scope) -> None:
    """Take a scope that ended off the current context, if it is there at all.

    Tokens are of no use here: a stage may end in another task, or in another order, than it began, and a token is then
    refused with an error. What counts is where we stand now: on this very scope, and what it covered is restored.
    """
    now = get_current()
    if scope_of(now) is not scope:
        return
    around = innermost_open(scope.enclosing)
    if now is not scope.context:
        attach(_rebased(now, around))  # the pipeline put something of its own on top: keep that
    elif around is scope.enclosing:
        attach(scope.before)
    elif around is not None:
        attach(around.context)
    else:
        while scope.enclosing is not None:
            scope = scope.enclosing
        attach(scope.before)
