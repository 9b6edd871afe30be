"""Queries that need the trace files: one run in full, and two runs side by side."""

from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from ire_otel.db.tables import traces
from ire_otel.errors import SchemaTooNewError, TraceFileError
from ire_otel.model import TraceDocument
from ire_otel.query.comparison import Comparison, compare_documents
from ire_otel.query.conditions import equal
from ire_otel.query.execution import Brain
from ire_otel.reader import decode
from ire_otel.settings import Settings

_SUMMARY: Final = {
    "trace_id": "trace_id",
    "project_name": "project_name",
    "intent": "intent",
    "domain": "domain",
    "quality_score": "overall_quality_score",
    "quality_gate_passed": "quality_gate_passed",
    "gap_principles": "gap_principles",
    "strength_principles": "strength_principles",
    "duration_seconds": "duration_seconds",
    "cost_usd": "synthesis_cost_usd",
}
"""Names in a comparison, and the columns of `traces`."""
_READ: Final = "read"


def full_trace(brain: Brain, trace_id: str) -> dict[str, Any] | None:
    """Give the whole trace document of a run: all decisions, prompts and evidence; an older one is upgraded.

    None where there is no such run, or its file is missing or corrupt (`ire-otel show` says why). Raises
    SchemaTooNewError where a later ire-otel wrote it.
    """
    location = brain.connection.scalar(sa.select(traces.c.trace_file_path).where(equal(traces.c.trace_id, trace_id)))

    def read() -> dict[str, Any] | None:
        document = _document(brain.settings, location).document
        content: dict[str, Any] | None = None if document is None else msgspec.to_builtins(document)
        return content

    return brain.off_loop(read)


def compare(brain: Brain, trace_id_a: str, trace_id_b: str) -> dict[str, Any]:
    """Compare two runs side by side.

    `trace_a` and `trace_b` hold their summaries. `diff` holds quality_delta (0 to 3), duration_delta (seconds) and
    cost_delta (US dollars), each b minus a and None where either run has no such number, and gaps_a_only, gaps_b_only,
    gaps_both. From the trace files come `decisions` (with `first_difference`), `evidence`, `prompts` and `principles`,
    as in ire_otel.query.comparison; all are None where a file cannot be read, and `trace_files` says which and why.

    Where a run does not exist: `{"error": …, "not_found": […]}`.
    """
    columns = [traces.c[column].label(name) for name, column in _SUMMARY.items()]
    locations: list[str | None] = []
    summaries: list[dict[str, Any]] = []
    for trace_id in (trace_id_a, trace_id_b):
        statement = sa.select(*columns, traces.c.trace_file_path).where(equal(traces.c.trace_id, trace_id))
        for row in brain.connection.execute(statement).mappings():
            summaries.append({name: row[name] for name in _SUMMARY})
            locations.append(row["trace_file_path"])
    found = [summary["trace_id"] for summary in summaries]
    missing = [trace_id for trace_id in (trace_id_a, trace_id_b) if trace_id not in found]
    if missing:
        return {"error": "One or both trace IDs not found", "not_found": missing}
    a, b = summaries
    return {
        "trace_a": a,
        "trace_b": b,
        "diff": _diff(a, b),
        **brain.off_loop(lambda: _compared(brain.settings, locations[0], locations[1])),
    }


class _File(NamedTuple):
    document: TraceDocument | None
    state: str
    """`read`, or why it was not."""


def _document(settings: Settings, location: str | None) -> _File:
    if location is None:
        return _File(None, "the row names no file")
    path = settings.resolve(location)
    try:
        return _File(decode(path.read_bytes(), str(path)), _READ)
    except SchemaTooNewError:
        raise
    except TraceFileError as error:
        return _File(None, str(error))
    except OSError as error:
        return _File(None, f"{path} cannot be read: {error.strerror}")


def _compared(settings: Settings, location_a: str | None, location_b: str | None) -> dict[str, Any]:
    a, b = _document(settings, location_a), _document(settings, location_b)
    states = {"trace_files": {"a": a.state, "b": b.state}}
    if a.document is None or b.document is None:
        return states | dict.fromkeys(Comparison.__struct_fields__)
    compared: dict[str, Any] = msgspec.to_builtins(compare_documents(a.document, b.document))
    return states | compared


def _diff(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    gaps_a, gaps_b = set(a["gap_principles"] or ()), set(b["gap_principles"] or ())
    return {
        "quality_delta": _delta(a["quality_score"], b["quality_score"]),
        "duration_delta": _delta(a["duration_seconds"], b["duration_seconds"]),
        "cost_delta": _delta(a["cost_usd"], b["cost_usd"]),
        "gaps_a_only": sorted(gaps_a - gaps_b),
        "gaps_b_only": sorted(gaps_b - gaps_a),
        "gaps_both": sorted(gaps_a & gaps_b),
    }


def _delta(a: float | None, b: float | None) -> float | None:
    """Subtract; what one side does not know is no zero."""
    return None if a is None or b is None else b - a
