"""Whether components record what they declare. Pure: documents in, differences out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import UNSET

from ire_otel.recording.run import UNSTAGED

if TYPE_CHECKING:
    from ire_otel.model import Attempt, StageTrace, TraceDocument


class DeclaringComponent(Protocol):
    """A TracingComponent, or anything else that has a name and declares what it records."""

    @property
    def component_name(self) -> str:
        """Its name in traces."""
        ...

    def get_trace_schema(self) -> Mapping[str, Any]:
        """What it can record: `{"decisions": [types], "outputs": [keys]}`."""
        ...


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a component says it may record (`get_trace_schema`)."""

    decisions: frozenset[str] = frozenset()
    """Types of decisions."""
    outputs: frozenset[str] = frozenset()
    """Keys of the outputs of its stages."""


class Conformance(msgspec.Struct, frozen=True, kw_only=True):
    """What a component declares beside what it recorded."""

    component: str
    """Its name."""
    declared: Declaration
    """What it says it may record."""
    recorded: Declaration
    """What it recorded."""

    @property
    def undeclared_decisions(self) -> list[str]:
        """Types of decisions that it recorded without declaring them."""
        return sorted(self.recorded.decisions - self.declared.decisions)

    @property
    def undeclared_outputs(self) -> list[str]:
        """Keys of outputs that it recorded without declaring them."""
        return sorted(self.recorded.outputs - self.declared.outputs)

    @property
    def unseen_decisions(self) -> list[str]:
        """Types of decisions that it declares and did not record here."""
        return sorted(self.declared.decisions - self.recorded.decisions)

    @property
    def unseen_outputs(self) -> list[str]:
        """Keys of outputs that it declares and did not record here."""
        return sorted(self.declared.outputs - self.recorded.outputs)


def declaration(
    component: DeclaringComponent | str, schema: Mapping[str, Sequence[str]] | None
) -> tuple[str, Declaration]:
    """Give a component's name and what it declares. Raises TypeError for a declaration of another form."""
    if isinstance(component, str):
        if schema is None:
            raise TypeError(f"check_component({component!r}) needs the schema, too; or pass the component itself")
        name, given = component, schema
    else:
        name, given = component.component_name, component.get_trace_schema() if schema is None else schema
    try:
        return name, msgspec.convert(given, Declaration)
    except msgspec.ValidationError as error:
        raise TypeError(
            f"the trace schema of {name} is {given!r}: {error}; "
            'it has the form {"decisions": [types], "outputs": [keys]}'
        ) from error


def compare(name: str, declared: Declaration, documents: Sequence[TraceDocument]) -> Conformance | None:
    """Hold a component's declaration against documents; None where it has no decision and no output in them."""
    decisions = frozenset(
        decision.decision
        for document in documents
        for stage in document.stages.values()
        for decision in stage.decisions
        if decision.component == name
    )
    outputs = frozenset(key for document in documents for key in _outputs(name, document))
    if not decisions and not outputs:
        return None
    return Conformance(component=name, declared=declared, recorded=Declaration(decisions=decisions, outputs=outputs))


def _outputs(name: str, document: TraceDocument) -> Iterator[str]:
    for stage in document.stages.values():
        for attempt in _attempts(stage):
            if _belongs(name, stage, attempt):
                yield from _keys(attempt.outputs)
    outside = document.stages.get(UNSTAGED)
    if outside is not None and _deciders(outside) == {name}:
        # The assembler adds the error of a failed run to its outputs.
        added = {"error"} if document.run.status == "failed" else set[str]()
        yield from (key for key in document.outputs if key not in added)


def _attempts(stage: StageTrace) -> Sequence[Attempt]:
    return [stage] if stage.attempts is UNSET else stage.attempts


def _belongs(name: str, stage: StageTrace, attempt: Attempt) -> bool:
    if attempt.component is not UNSET:
        return attempt.component == name
    return _deciders(stage, None if attempt.attempt is UNSET else attempt.attempt) == {name}


def _deciders(stage: StageTrace, attempt: int | None = None) -> set[str | None]:
    return {decision.component for decision in stage.decisions if attempt in {None, decision.attempt}}


def _keys(outputs: Any) -> Sequence[str]:
    return list(outputs) if isinstance(outputs, dict) else []
