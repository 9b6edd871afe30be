"""What a call costs in a project for which tracing is off."""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from time import thread_time_ns
from typing import Any, Final

import msgspec
from opentelemetry.context import get_current

import ire_otel
from benchmarks import reference
from benchmarks.contenders import Contender
from benchmarks.lockstep import contest
from benchmarks.results import Figure, Figures, Goal, Scale, Size

TITLE: Final = "Tracing switched off"
REMARK: Final = (
    "Calls in a run of a project with `enabled = false`, in turn with the same call of a function that does nothing "
    "but is wrapped by an empty decorator (`*args, **kwargs`) which looks up OpenTelemetry's current context: CPU time "
    "of the thread, ten calls at a time."
)
CHARTS: Final = ()


SIZES: Final = {
    Scale.SMALLEST: Size(rounds=2, each=10),
    Scale.QUICK: Size(rounds=15, each=2_000),
    Scale.FULL: Size(rounds=101, each=5_000),
}
"""How many calls."""
TOGETHER: Final = 10
"""Calls of one thing before it is the next thing's turn."""
DECISION: Final = reference.decisions(1)[0]


class Calls(msgspec.Struct, frozen=True):
    """Nanoseconds a call, by what was called."""

    taken: dict[str, float]


def calls(_: Contender, count: int) -> Calls:
    """Call everything `count` times, a few times in turn."""
    ire_otel.configure(projects={"off": {"enabled": False}})
    with ire_otel.run(reference.QUERY, project_name="off"):
        taken = _taken(_INSIDE, count)
    return Calls(taken | _taken(_OUTSIDE, count))


def _taken(calls: Mapping[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Give the nanoseconds of CPU time of each call: shorter than what the system takes the processor away for."""
    taken = dict.fromkeys(calls, 0)
    for _ in range(count // TOGETHER):
        for name, call in calls.items():
            began = thread_time_ns()
            for _call in range(TOGETHER):
                call()
            taken[name] += thread_time_ns() - began
    return {name: total / (count // TOGETHER * TOGETHER) for name, total in taken.items()}


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
        held.one("bare", Calls, calls, size.each)
        rounds = [held.one("bare", Calls, calls, size.each).taken for _ in range(size.rounds)]
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
