"""What a call costs in a project for which tracing is off."""

from collections.abc import Callable, Iterator
from functools import wraps
from time import perf_counter_ns
from typing import Any, Final, NamedTuple

import msgspec
from opentelemetry.context import get_current

import ire_otel
from benchmarks import reference
from benchmarks.contenders import Contender
from benchmarks.lockstep import contest
from benchmarks.results import Figure, Figures, Goal, Scale

TITLE: Final = "Tracing switched off"
REMARK: Final = (
    "Calls in a run of a project with `enabled = false`, in turn with the same call of a function that does nothing "
    "but is wrapped by an empty decorator (`*args, **kwargs`) which looks up OpenTelemetry's current context."
)
CHARTS: Final = ()


class Size(NamedTuple):
    """How often."""

    rounds: int
    calls: int


SIZES: Final = {
    Scale.SMALLEST: Size(rounds=2, calls=10),
    Scale.QUICK: Size(rounds=15, calls=2_000),
    Scale.FULL: Size(rounds=101, calls=5_000),
}
DECISION: Final = reference.decisions(1)[0]


class Calls(msgspec.Struct, frozen=True):
    """Nanoseconds a call, by what was called."""

    taken: dict[str, float]


def calls(_: Contender, count: int) -> Calls:
    """Call everything `count` times, one thing after the other."""
    ire_otel.configure(projects={"off": {"enabled": False}})
    with ire_otel.run(reference.QUERY, project_name="off"):
        taken = {name: _taken(call, count) for name, call in _INSIDE.items()}
    return Calls(taken | {name: _taken(call, count) for name, call in _OUTSIDE.items()})


def _taken(call: Callable[[], object], count: int) -> float:
    began = perf_counter_ns()
    for _ in range(count):
        call()
    return (perf_counter_ns() - began) / count


def _empty(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate with nothing but a look at the context."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        get_current()
        return function(*args, **kwargs)

    return wrapper


@_empty
def _nothing(*_: Any, **__: Any) -> None: ...


def _decide(decide: Callable[..., object]) -> None:
    decide(
        DECISION.kind,
        what=DECISION.what,
        why=DECISION.why,
        confidence=DECISION.confidence,
        alternatives=DECISION.alternatives,
        inputs=DECISION.inputs,
    )


@ire_otel.traced_stage("intake")
def _stage() -> None: ...


@ire_otel.traced_run(project_name="off")
def _run(query: str) -> None:
    del query


def _stage_block() -> None:
    with ire_otel.stage("intake", component="ResearchOrchestrator"):
        pass


def _run_block() -> None:
    with ire_otel.run(reference.QUERY, project_name="off"):
        pass


_INSIDE: Final[dict[str, Callable[[], object]]] = {
    "decide": lambda: _decide(ire_otel.decide),
    "decide, empty": lambda: _decide(_nothing),
    "traced_stage": _stage,
    "traced_stage, empty": _nothing,
    "stage block": _stage_block,
    "stage block, empty": lambda: _nothing("intake", component="ResearchOrchestrator"),
}
_OUTSIDE: Final[dict[str, Callable[[], object]]] = {
    "traced_run": lambda: _run(reference.QUERY),
    "traced_run, empty": lambda: _nothing(reference.QUERY),
    "run block": _run_block,
    "run block, empty": lambda: _nothing(reference.QUERY, project_name="off"),
}


def measure(scale: Scale) -> list[Figure]:
    """Call in turn."""
    size = SIZES[scale]
    with contest(["bare"]) as held:
        held.one("bare", Calls, calls, size.calls)
        rounds = [held.one("bare", Calls, calls, size.calls).taken for _ in range(size.rounds)]
    names = [*_INSIDE, *_OUTSIDE]
    return [Figure(what="call", of=name, unit="ns", samples=[one[name] for one in rounds]) for name in names]


def goals(figures: Figures) -> Iterator[Goal]:
    """Hold each call against the empty one."""
    bounds = {"decide": 3, "traced_stage": 3, "stage block": 3, "traced_run": 12, "run block": 12}
    for name, bound in bounds.items():
        yield Goal(
            what=f"disabled project: {name} over an empty decorator and context lookup",
            measured=figures.ratio("call", name, f"{name}, empty"),
            bound=bound,
        )
