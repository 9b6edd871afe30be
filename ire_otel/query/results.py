"""What queries give: runs and decisions as structs, in a list that becomes a data frame on request."""

from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal, TypeVar

import msgspec
import sqlalchemy as sa

from ire_otel.errors import IreOtelError

T = TypeVar("T")
DATA_FRAMES: Final = ("pandas", "polars")


class QueryError(IreOtelError, ValueError):
    """A query was asked with something that it cannot be asked with."""


class RunNotFoundError(IreOtelError):
    """No run, or more than one, answers to what was asked for."""


class TraceResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as a query gives it; None is unknown."""

    trace_id: str
    project_name: str | None
    query: str | None
    intent: str | None
    domain: str | None
    report_type: str | None
    status: str
    """in_progress, complete, incomplete or failed."""
    quality_gate_passed: bool | None
    overall_quality_score: float | None
    """0.0 to 3.0."""
    gap_principles: list[str] | None
    """Ids of the principles scored below 2."""
    strength_principles: list[str] | None
    duration_seconds: float | None
    started_at: str
    """ISO 8601 UTC with microseconds."""
    completed_at: str | None
    iteration_count: int | None
    synthesis_cost_usd: float | None
    cost_usd: float | None
    """Over all stages."""
    error: str | None
    current_stage: str | None
    """The stage that the run is in; None once it has ended."""
    trace_file_path: str | None
    """From the brain folder's own name on (`brain/projects/…`); None where the file could not be written."""
    jaeger_url: str | None
    """Where the run is in Jaeger's page; None where `jaeger_url` was not set when it was written."""
    report_file_path: str | None


class DecisionResult(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, with what became of its run; texts end at 500 characters, the trace file has all of them."""

    trace_id: str
    stage: str
    attempt: int
    """The attempt of the stage, from 1."""
    component: str | None
    decision_type: str
    what: str | None
    why: str | None
    confidence: float | None
    """0 to 1; None where the component gave none."""
    decided_at: str | None
    """ISO 8601 UTC with microseconds."""
    intent: str | None
    status: str
    """The run's, as the two below."""
    quality_gate_passed: bool | None
    overall_quality_score: float | None


class Results(list[T]):
    """A list; `to_dataframe` makes a table of it."""

    def to_dataframe(self, library: Literal["pandas", "polars"] | None = None) -> Any:
        """Give a pandas or polars DataFrame, one row an entry; without `library`, pandas where it is installed.

        Times are text (ISO 8601 UTC). Raises QueryError where the library is not installed.
        """
        installed: list[str] = [name for name in DATA_FRAMES if find_spec(name)]
        wanted = [library] if library else installed
        if not wanted or wanted[0] not in installed:
            missing = library or " or ".join(DATA_FRAMES)
            raise QueryError(f"to_dataframe needs {missing}, which is not installed: pip install {library or 'pandas'}")
        return import_module(wanted[0]).DataFrame([msgspec.to_builtins(entry) for entry in self])


def run_result(row: sa.RowMapping) -> TraceResult:
    """Give the run in a row of the database."""
    return TraceResult(**_plain_times(row))


def decision_result(row: sa.RowMapping) -> DecisionResult:
    """Give the decision in a row of the database."""
    return DecisionResult(**_plain_times(row))


def _plain_times(row: sa.RowMapping) -> dict[str, Any]:
    return {name: stamp(value) if isinstance(value, datetime) else value for name, value in row.items()}


def stamp(moment: datetime) -> str:
    """Give a time in UTC as ISO 8601 with microseconds."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
