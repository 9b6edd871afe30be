"""The run and the stage of a project with tracing off: every method does nothing, so that callers never branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.context import get_current

from ire_otel.recording.process import identity
from ire_otel.recording.scope import Scope, enter, leave, scope_of, with_scope
from ire_otel.recording.span import Block

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ire_otel.model import RunStatus
    from ire_otel.recording.run import Trace
    from ire_otel.records import ExportOutcome


class NoOpStage(Block):
    """A stage that records nothing."""

    __slots__ = ()
    name: str = ""
    attempt: int = 1
    component: str | None = None
    outputs_given: bool = True
    ended: bool = True

    def _nothing(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing."""

    decide = evidence = prompts = usage = score = verdict = set_outputs = end_stage = _nothing

    leave_block = __exit__ = _nothing


NOOP_STAGE: Final = NoOpStage()


class NoOpTrace(Block):
    """A run that records nothing. While it is current, nothing inside it is recorded in a run around it either.

    What a pipeline learns on the way (`trace.intent = …`) it may set here as on any other.
    """

    silent: bool = True
    ended: bool = False
    stage_span_id: str | None = None
    trace_id: str = "noop"
    span_id: str = "0000000000000000"
    status: RunStatus | str = "disabled"
    recording: bool = False
    outputs_given: bool = True
    outcome: Future[ExportOutcome | None] | None = None
    project_id: str | None = None
    project_name: str | None = None
    query: str | None = None
    intent: str | None = None
    domain: str | None = None
    report_type: str | None = None
    research_type: str | None = None
    error: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_seconds: float | None = None
    iteration_count: int = 1
    quality_gate_failures: int = 0

    def __init__(self) -> None:
        """Make one for use here."""
        self.process = identity.id
        self.before = get_current()
        self.context = with_scope(self, self.before)

    @property
    def enclosing(self) -> Scope | None:
        """The scope that was current when this one began."""
        return scope_of(self.before)

    @property
    def trace(self) -> Trace:
        """The run itself, which can be called as any other."""
        return cast("Trace", self)

    @property
    def stages(self) -> dict[str, Any]:
        """Empty."""
        return {}

    outputs = stages

    @property
    def iterations(self) -> list[dict[str, Any]]:
        """Empty."""
        return []

    child_traces = iterations

    def start_stage(self, *_args: Any, **_kwargs: Any) -> NoOpStage:
        """Give the stage that records nothing."""
        return NOOP_STAGE

    def stage_calls(self, *_args: Any) -> NoOpStage:
        """Give the stage that records nothing."""
        return NOOP_STAGE

    def to_dict(self) -> dict[str, Any]:
        """Give an empty object."""
        return {}

    def _nothing(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing."""

    end_stage = record = record_evidence = record_prompts = record_iteration = set_outputs = _nothing
    mark_complete = mark_failed = mark_incomplete = _nothing

    def end_run(self, *_args: Any, **_kwargs: Any) -> None:
        """Make what was around it current again."""
        self.ended = True
        leave(self)
        self.context = self.before

    leave_block = __exit__ = end_run


def disabled() -> NoOpTrace:
    """Start a run that records nothing."""
    trace = NoOpTrace()
    enter(trace)
    return trace
