"""What a test sees of the runs that it captured, and the assertions on them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import msgspec

from ire_otel import assembly
from ire_otel.testing import conformance, failures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ire_otel.model import Decision, TraceDocument
    from ire_otel.testing.capture import CapturingHost
    from ire_otel.testing.conformance import Conformance, DeclaringComponent


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A captured decision with where it was taken."""

    trace_id: str
    """The run."""
    stage: str
    """The stage."""
    decision: Decision
    """The decision itself."""

    def value(self, name: str) -> Any:
        """Give what was recorded under the name that `assert_decision` has for it."""
        if name in {"stage", "trace_id"}:
            return getattr(self, name)
        return getattr(self.decision, "alternatives_considered" if name == "alternatives" else name)


class CapturedTraces:
    """The finished runs of one test, each as its trace document.

    Ids count up from 1 and time from 2026-01-01, a millisecond each time the clock is read; tracing overhead is 0.0 and
    the resource is empty. So the same calls give the same bytes every time, and whole documents serve as snapshots.
    """

    def __init__(self, capturing: CapturingHost) -> None:
        """`captured_traces()` is the way to one."""
        self._capturing = capturing

    @property
    def documents(self) -> list[TraceDocument]:
        """The documents of all finished runs, child runs included, in the order in which the runs began."""
        return self._capturing.documents()

    @property
    def document(self) -> TraceDocument:
        """The only document. AssertionError where no run, or more than one, has finished."""
        __tracebackhide__ = True
        documents = self.documents
        if len(documents) != 1:
            raise AssertionError(failures.not_one(documents, list(self._capturing.open.values())))
        return documents[0]

    @property
    def json(self) -> str:
        """The only document as the text of its trace file."""
        __tracebackhide__ = True
        return assembly.encode(self.document).decode()

    def decisions(
        self,
        stage: str | None = None,
        type: str | None = None,  # noqa: A002 # what a decision's kind is called everywhere else
        component: str | None = None,
    ) -> list[Decision]:
        """Give the decisions of all documents in the order in which they were taken; None takes any."""
        wanted = {"stage": stage, "decision": type, "component": component}
        asked = {name: value for name, value in wanted.items() if value is not None}
        return [one.decision for one in self._taken() if all(one.value(name) == asked[name] for name in asked)]

    def assert_decision(
        self,
        decision: str,
        *,
        stage: Any = ANY,
        component: Any = ANY,
        what: Any = ANY,
        why: Any = ANY,
        confidence: Any = ANY,
        alternatives: Any = ANY,
        inputs: Any = ANY,
        attempt: Any = ANY,
    ) -> Decision:
        """Hold that a decision was taken, and give the first one that is as expected.

        decision: its type. The others are compared with `==`, as the trace document has them (tuples are lists, dates
        are strings), so `pytest.approx(0.85)` serves; a compiled regular expression is searched for. What is left out
        is not compared.

        AssertionError shows what was recorded instead, side by side.
        """
        __tracebackhide__ = True
        given = {
            "stage": stage,
            "component": component,
            "what": what,
            "why": why,
            "confidence": confidence,
            "alternatives": alternatives,
            "inputs": inputs,
            "attempt": attempt,
        }
        expected = {name: value for name, value in given.items() if value is not ANY}
        taken = self._taken()
        nearest = sorted(
            ((_differing(one, expected), one) for one in taken if one.decision.decision == decision),
            key=lambda pair: len(pair[0]),
        )
        if nearest and not nearest[0][0]:
            return nearest[0][1].decision
        raise AssertionError(failures.no_such_decision(decision, expected, nearest, taken))

    def assert_valid(self) -> None:
        """Hold that every document fits the schema, and every decision says why and was recorded as it was given.

        AssertionError names each decision without a reason and each warning (a confidence that is no probability, a
        stage that was never ended); it is also raised where nothing was captured.
        """
        __tracebackhide__ = True
        documents = self.documents  # reading them back has checked every type
        if not documents:
            raise AssertionError(failures.not_one(documents, list(self._capturing.open.values())))
        problems = [f"{made.trace_id}: {warning}" for made in documents for warning in made.metadata.warnings]
        problems += [
            f"{one.trace_id}: decision {one.decision.decision!r} of stage {one.stage!r} has no why; "
            f"{one.decision.component} took it"
            for one in self._taken()
            if not one.decision.why.strip()
        ]
        if problems:
            raise AssertionError("\n".join(problems))

    def check_component(
        self, component: DeclaringComponent | str, schema: Mapping[str, Sequence[str]] | None = None
    ) -> Conformance:
        """Hold that a component recorded only decisions and outputs that it declares.

        component: a TracingComponent, or anything with its `component_name` and `get_trace_schema()`; a name goes
            with the `schema`, as `get_trace_schema` would give it: `{"decisions": [types], "outputs": [keys]}`.

        A component's outputs are those of the stages that name it as their component, and of stages that name none and
        in which it alone decided; likewise the run's own, where it alone decided outside every stage.

        AssertionError shows what is declared and what was recorded, side by side; it is also raised where the component
        recorded nothing. What is declared and was never seen is no failure: it is in the result.
        """
        __tracebackhide__ = True
        name, declared = conformance.declaration(component, schema)
        found = conformance.compare(name, declared, self.documents)
        if found is None:
            seen = sorted({one.decision.component or "" for one in self._taken()})
            raise AssertionError(failures.silent_component(name, seen))
        if found.undeclared_decisions or found.undeclared_outputs:
            raise AssertionError(failures.undeclared(found))
        return found

    def _taken(self) -> list[Taken]:
        taken = [
            Taken(trace_id=document.trace_id, stage=name, decision=decision)
            for document in self.documents
            for name, stage in document.stages.items()
            for decision in stage.decisions
        ]
        return sorted(taken, key=lambda one: one.decision.timestamp or "")


def _differing(one: Taken, expected: Mapping[str, Any]) -> list[str]:
    return [name for name, value in expected.items() if not _fits(value, one.value(name))]


def _fits(expected: Any, recorded: Any) -> bool:
    if isinstance(expected, re.Pattern):
        return isinstance(recorded, str) and expected.search(recorded) is not None
    return bool(expected == recorded)
