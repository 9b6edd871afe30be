"""The typed calls of a stage: what a pipeline says, turned into events and attributes where the stage keeps them."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from ire_otel import semconv
from ire_otel.recording import facts
from ire_otel.recording.component import caller, calling, name_of
from ire_otel.recording.guard import internal_error, warn_once
from ire_otel.recording.process import next_seq
from ire_otel.recording.span import safe_name
from ire_otel.values import attribute

if TYPE_CHECKING:
    from ire_otel.recording.run import Trace

M = TypeVar("M", bound="Callable[..., None]")


class HasTrace(Protocol):
    """Whatever belongs to a run, and charges it for the time it takes."""

    @property
    def trace(self) -> Trace:
        """The run."""
        ...


def recorded(doing: str) -> Callable[[M], M]:
    """Make a recording method that never raises and whose time is counted as the run's tracing overhead."""

    def decorate(method: M) -> M:
        @functools.wraps(method)
        def wrapper(self: HasTrace, *args: Any, **kwargs: Any) -> None:
            began = perf_counter_ns()
            try:
                method(self, *args, **kwargs)
            except Exception:  # noqa: BLE001 # tracing must never break the run it watches
                internal_error(doing)
            self.trace.overhead_ns += perf_counter_ns() - began

        return cast("M", wrapper)

    return decorate


class StageCalls:
    """What can be said about a stage, open or not."""

    __slots__ = ()
    trace: Trace
    name: str
    attempt: int
    component: str | None

    @abstractmethod
    def put_event(self, name: str, attributes: dict[str, Any]) -> None:
        """Record an event of this stage."""

    @abstractmethod
    def put_facts(self, attributes: dict[str, Any]) -> None:
        """Set attributes of this stage; None is left out."""

    def decide(  # the fields of a decision
        self,
        decision: str,
        *,
        what: Any = None,
        why: str = "",
        confidence: float | None = None,
        alternatives: Sequence[Any] = (),
        inputs: Mapping[str, Any] | None = None,
        component: Any = None,
        **unknown: Any,
    ) -> None:
        """Record a decision of this stage; arguments as those of `ire_otel.decide`."""
        began = perf_counter_ns()
        try:
            decider = name_of(component) or self.decider(2)
            if unknown:
                inputs = with_unknown(decision, inputs, unknown)
            self.put_decision(decision, what, why, confidence, alternatives, inputs, decider)
        except Exception:  # noqa: BLE001 # tracing must never break the run it watches
            internal_error("recording a decision")
        self.trace.overhead_ns += perf_counter_ns() - began

    def put_decision(  # noqa: PLR0917 # keywords would cost every decision
        self, kind: Any, what: Any, why: Any, confidence: Any, alternatives: Any, inputs: Any, component: str
    ) -> None:
        """Record a decision whose component is known."""
        given = facts.decision(
            kind, what, why, confidence, alternatives, inputs, component, next_seq(), self.attempt, self.name
        )
        if semconv.WARNING in given:
            warn_once(given[semconv.WARNING])
        self.put_event(safe_name(f"{semconv.DECISION_EVENT_PREFIX}{given[semconv.DECISION_TYPE]}"), given)

    def decider(self, depth: int) -> str:
        """Name what decides, `depth` calls up: a TracingComponent, else the stage's component, else the function."""
        name, is_component = calling(caller(depth))
        return name if is_component or self.component is None else self.component

    @recorded("recording evidence")
    def evidence(
        self,
        *,
        kept: Sequence[Any] = (),
        filtered_out: Sequence[Any] = (),
        **more: Any,
    ) -> None:
        """Record what was collected: items kept and filtered out, each with its `scores` and, if filtered, `reason`.

        `more` may hold `collected_count` and `by_source` (worked out where not given), `query_terms_used`, and any
        other facts, which are kept as they are.
        """
        given = {key: value for key, value in more.items() if value is not None}
        items = {"filtered_out": filtered_out or [], "kept": kept or []}
        counts = [facts.count(sort) for sort in items.values()]
        collected = {} if None in counts else {"collected_count": sum(filter(None, counts))}
        self.put_facts(facts.evidence({**collected, **given, **items}))

    @recorded("recording evidence")
    def evidence_as_given(self, data: Mapping[str, Any]) -> None:
        """Record evidence that is already in the document's form."""
        self.put_facts(facts.evidence(data))

    @recorded("recording prompts")
    def prompts(self, **texts: Any) -> None:
        """Record full prompt texts, by name: `system_prompt=…, user_message=…`."""
        self.put_facts(facts.prompts(texts))

    @recorded("recording prompts")
    def prompts_as_given(self, texts: Mapping[str, Any]) -> None:
        """Record full prompt texts that are already in the document's form."""
        self.put_facts(facts.prompts(texts))

    @recorded("recording usage")
    def usage(
        self,
        *,
        model: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        total_tokens: int | None = None,
        cost_usd: float | None = None,
    ) -> None:
        """Record tokens and cost of model calls. Several calls within an open stage add up; the last model stands."""
        self.put_facts(
            {
                semconv.STAGE_MODEL: attribute(model),
                **self.added_up(
                    {
                        semconv.STAGE_INPUT_TOKENS: facts.amount(input_tokens),
                        semconv.STAGE_OUTPUT_TOKENS: facts.amount(output_tokens),
                        semconv.STAGE_TOTAL_TOKENS: facts.amount(total_tokens),
                        semconv.STAGE_COST_USD: facts.amount(cost_usd),
                    }
                ),
            }
        )

    def added_up(self, usage: dict[str, Any]) -> dict[str, Any]:
        """Add what was reported before; a stage that is not open keeps no sums."""
        return usage

    @recorded("recording a principle score")
    def score(self, principle_id: str, score: float, *, name: str | None = None, feedback: str | None = None) -> None:
        """Record the gate's score (0 to 3) of one principle; below 2 is a gap, 3 is a strength."""
        given = facts.score(principle_id, score, name, feedback, next_seq(), self.name)
        if semconv.WARNING in given:
            warn_once(given[semconv.WARNING])
        self.put_event(semconv.SCORE_EVENT, given)

    @recorded("recording a verdict")
    def verdict(
        self, *, passed: bool | None = None, overall_score: float | None = None, threshold: float | None = None
    ) -> None:
        """Record the gate's verdict on the report."""
        self.put_facts(
            {
                semconv.GATE_PASSED: passed if passed is None else bool(passed),
                semconv.GATE_OVERALL_SCORE: attribute(overall_score),
                semconv.GATE_THRESHOLD: attribute(threshold),
            }
        )

    @recorded("recording outputs")
    def set_outputs(self, outputs: Any) -> None:
        """Record what the stage made. A later call replaces an earlier one."""
        self.put_facts({semconv.STAGE_OUTPUTS: attribute(outputs)})


def with_unknown(decision: object, inputs: Any, unknown: dict[str, Any]) -> dict[str, Any]:
    """Keep arguments that `decide` does not have among the inputs, and say so."""
    warn_once("decide(%r) has no argument %s; recorded among its inputs", decision, ", ".join(sorted(unknown)))
    given = inputs if isinstance(inputs, Mapping) else {} if inputs is None else {"inputs": inputs}
    return {**given, **unknown}
