"""What a run holds so far, read from its log: the fields of SPEC-style traces. Each read folds the log anew."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ire_otel.values import plain

if TYPE_CHECKING:
    from ire_otel.model import RunStatus, StageTrace, TraceDocument
    from ire_otel.runlog import RunLog


def moment(time_ns: int | None) -> str | None:
    """Give a time as ISO 8601 UTC with microseconds."""
    if time_ns is None:
        return None
    seconds, rest = divmod(time_ns, 1_000_000_000)
    stamp = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000, tzinfo=None)
    return f"{stamp.isoformat(timespec='microseconds')}Z"


class LiveView:
    """The readable side of a run."""

    __slots__ = ()
    trace_id: str
    status: RunStatus
    log: RunLog
    start_ns: int
    completed_ns: int | None

    def document(self) -> TraceDocument:
        """Assemble the document of what is recorded so far."""
        from ire_otel import assembly

        return assembly.assemble(self.log.records(), run_id=self.trace_id, live=True)

    def to_dict(self) -> dict[str, Any]:
        """Give the trace document of what is recorded so far, as plain Python objects."""
        from ire_otel import assembly

        return msgspec.json.decode(assembly.encode(self.document()))  # type: ignore[no-any-return] # an object

    @property
    def stages(self) -> dict[str, StageTrace]:
        """The stages by name, as they stand now."""
        return {name: _named(name, stage) for name, stage in self.document().stages.items()}

    @property
    def iterations(self) -> list[dict[str, Any]]:
        """The iterations reported so far."""
        return [plain(iteration) for iteration in self.document().iterations]

    @property
    def iteration_count(self) -> int:
        """Iterations reported so far, at least 1."""
        return self.document().iteration_count

    @property
    def quality_gate_failures(self) -> int:
        """How often the gate failed so far."""
        return self.document().quality_gate_failures

    @property
    def outputs(self) -> dict[str, Any]:
        """The run's outputs as they were set last."""
        return plain(dict(self.document().outputs))  # type: ignore[no-any-return] # a dict stays one

    @property
    def child_traces(self) -> list[dict[str, Any]]:
        """The runs inside this one: trace_id, output_type and path each."""
        return [msgspec.structs.asdict(child) for child in self.document().child_traces]

    @property
    def started_at(self) -> str | None:
        """When the run began, ISO 8601 UTC."""
        return moment(self.start_ns)

    @property
    def completed_at(self) -> str | None:
        """When the run was marked or ended, ISO 8601 UTC."""
        return moment(self.completed_ns)

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from start to mark or end."""
        return None if self.completed_ns is None else round((self.completed_ns - self.start_ns) / 1e9, 6)


def _named(name: str, stage: StageTrace) -> StageTrace:
    """Give a stage that knows its name, with its JSON decoded."""
    decisions = [
        msgspec.structs.replace(decision, **{key: plain(getattr(decision, key)) for key in _DECISION_JSON})
        for decision in stage.decisions
    ]
    changed = {key: plain(getattr(stage, key)) for key in ("outputs", "evidence", "prompts")}
    return msgspec.structs.replace(stage, name=name, decisions=decisions, **changed)


_DECISION_JSON = ("what", "alternatives_considered", "inputs")
