"""Questions about recorded runs, answered from the database."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from ire_otel.db.engine import Database, database, engine
from ire_otel.db.failures import wrapped
from ire_otel.db.migrate import ensure_current
from ire_otel.db.tables import traces
from ire_otel.errors import IreOtelError, StoreUnavailableError

CANDIDATES: Final = 5
"""Most runs that the error for an ambiguous prefix names."""


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
    trace_file_path: str | None
    """From the brain folder's own name on (`brain/projects/…`); None where the file could not be written."""
    report_file_path: str | None


_COLUMNS: Final = tuple(traces.c[name] for name in TraceResult.__struct_fields__)


def list_runs(
    url: str,
    *,
    pooler: str = "",
    intent: str | None = None,
    domain: str | None = None,
    project: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> list[TraceResult]:
    """Give the runs that fit all conditions, newest first, at most `limit`.

    `since` (a naive time is local) keeps runs that started then or later. Raises StoreUnavailableError.
    """
    chosen = {"intent": intent, "domain": domain, "project_name": project, "status": status}
    conditions = [traces.c[name] == value for name, value in chosen.items() if value is not None]
    if since is not None:
        conditions.append(traces.c.started_at >= since.astimezone(UTC))
    statement = sa.select(*_COLUMNS).where(*conditions)
    return _results(
        _existing(url, pooler), statement.order_by(traces.c.started_at.desc(), traces.c.trace_id).limit(limit)
    )


def find_run(url: str, wanted: str, *, pooler: str = "") -> TraceResult:
    """Give the one run that `wanted` names: `last`, a trace_id, or the beginning of one or of its hex digits.

    Raises RunNotFoundError, which names the candidates where there are several, and StoreUnavailableError.
    """
    target = _existing(url, pooler)
    newest = sa.select(*_COLUMNS).order_by(traces.c.started_at.desc(), traces.c.trace_id)
    if wanted == "last":
        found = _results(target, newest.limit(1))
    else:
        begins = traces.c.trace_id.startswith(wanted, autoescape=True)
        # Every part of trc_<date>_<hex> may begin it, so that nobody has to type what all runs share.
        part_begins = traces.c.trace_id.contains(f"_{wanted}", autoescape=True)
        exact = traces.c.trace_id == wanted
        found = _results(target, newest.where(exact).limit(1)) or _results(
            target, newest.where(begins | part_begins).limit(CANDIDATES + 1)
        )
    if len(found) == 1:
        return found[0]
    raise RunNotFoundError(_why_not(target, wanted, found))


def _why_not(target: Database, wanted: str, found: Sequence[TraceResult]) -> str:
    if wanted == "last":
        return f"{target.place} holds no run yet: trace one, or try `ire-otel demo`"
    if not found:
        return f"no run {wanted!r} in {target.place}: `ire-otel runs` lists what is there"
    named = ", ".join(result.trace_id for result in found[:CANDIDATES])
    more = " and more" if len(found) > CANDIDATES else ""
    return f"{wanted!r} fits more than one run: {named}{more}; give more characters"


def _existing(url: str, pooler: str) -> Database:
    target = database(url, pooler)
    if target.file is not None and not target.file.exists():
        raise StoreUnavailableError(
            f"no database at {target.file}: the first traced run makes it; check brain_dir or database_url"
        )
    ensure_current(target)
    return target


def _results(target: Database, statement: sa.Select[Any]) -> list[TraceResult]:
    with wrapped(target), engine(target).connect() as connection:
        return [_result(row) for row in connection.execute(statement).mappings()]


def _result(row: sa.RowMapping) -> TraceResult:
    values: dict[str, Any] = dict(row)
    for name in ("started_at", "completed_at"):
        moment = values[name]
        values[name] = moment and f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    return TraceResult(**values)
