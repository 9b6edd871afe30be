"""Queries that give runs, and the decisions they took. Each is written once; TraceQuery offers it in two ways."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ire_otel import semconv
from ire_otel.db.engine import Database
from ire_otel.db.tables import complete_gap, flagged, trace_decisions, trace_principle_scores, traces
from ire_otel.query.conditions import (
    COMPLETE,
    NEWEST,
    RUN_COLUMNS,
    checked_limit,
    chosen,
    equal,
    newest_runs,
    runs,
    window,
)
from ire_otel.query.execution import Brain, at_once, existing
from ire_otel.query.results import (
    DecisionResult,
    QueryError,
    Results,
    RunNotFoundError,
    TraceResult,
    decision_result,
)
from ire_otel.settings import Settings

CANDIDATES: Final = 5
"""Most runs that the error for an ambiguous prefix names."""
PAGE: Final = 500
"""Runs that an iterator reads at a time."""
LAST: Final = "last"

_DECISION_COLUMNS: Final = tuple(
    (trace_decisions if name in trace_decisions.c else traces).c[name] for name in DecisionResult.__struct_fields__
)


def by_intent(
    brain: Brain, intent: str, limit: int = 50, *, since: datetime | None = None, until: datetime | None = None
) -> Results[TraceResult]:
    """Give the complete runs of an intent, e.g. `validating`, newest first.

    since, until: runs that began at `since` or later and before `until`; a time without a zone is local.
    limit: 1 to 100,000. Raises QueryError and StoreUnavailableError, as all queries do.
    """
    return newest_runs(brain, limit, equal(traces.c.intent, intent), COMPLETE, *window(since, until))


def by_domain(
    brain: Brain, domain: str, limit: int = 50, *, since: datetime | None = None, until: datetime | None = None
) -> Results[TraceResult]:
    """Give the complete runs of a domain, e.g. `edtech`, newest first."""
    return newest_runs(brain, limit, equal(traces.c.domain, domain), COMPLETE, *window(since, until))


def by_project(
    brain: Brain, project_name: str, limit: int = 50, *, since: datetime | None = None, until: datetime | None = None
) -> Results[TraceResult]:
    """Give the runs of a project, however they ended, newest first."""
    return newest_runs(brain, limit, equal(traces.c.project_name, project_name), *window(since, until))


def by_status(
    brain: Brain, status: str, limit: int = 50, *, since: datetime | None = None, until: datetime | None = None
) -> Results[TraceResult]:
    """Give the runs that are `in_progress`, `complete`, `incomplete` or `failed`, newest first."""
    return newest_runs(brain, limit, equal(traces.c.status, status), *window(since, until))


def low_scoring_principle(
    brain: Brain,
    principle_id: str,
    threshold: float = 2,
    limit: int = 50,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Results[TraceResult]:
    """Give the complete runs in which a principle, e.g. `META-12`, scored below `threshold` (0 to 3), newest first."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise QueryError(f"threshold cannot be {threshold!r}: give a number from 0 to 3")
    scores = trace_principle_scores.c
    conditions = [
        equal(scores.principle_id, principle_id),
        scores.status == sa.literal_column("'complete'"),
        scores.score < float(threshold),
        *window(since, until, scores.started_at),
    ]
    # Gaps are rare and have an index; what lies below a higher threshold is soon found among the newest runs.
    newest = traces.c.started_at
    if threshold <= semconv.GAP_BELOW:
        conditions.append(complete_gap)
        newest = scores.started_at
    of_run = scores.trace_id == traces.c.trace_id if newest is scores.started_at else _looked_up(brain, scores.trace_id)
    low = sa.select(*RUN_COLUMNS).join(trace_principle_scores, of_run).where(*conditions)
    return runs(brain, low.order_by(newest.desc(), traces.c.trace_id.desc()), limit)


def quality_gate_failures(
    brain: Brain, limit: int = 50, *, since: datetime | None = None, until: datetime | None = None
) -> Results[TraceResult]:
    """Give the complete runs that the quality gate did not pass, newest first."""
    return newest_runs(brain, limit, traces.c.quality_gate_passed == sa.false(), COMPLETE, *window(since, until))


def flagged_for_review(
    brain: Brain, limit: int = 20, *, since: datetime | None = None, until: datetime | None = None
) -> Results[TraceResult]:
    """Give the runs that somebody flagged for review, newest first."""
    return newest_runs(brain, limit, flagged, *window(since, until))


def slowest(
    brain: Brain, limit: int = 20, *, since: datetime | None = None, until: datetime | None = None
) -> Results[TraceResult]:
    """Give the runs that took longest, the longest first."""
    return _largest(brain, traces.c.duration_seconds, limit, since, until)


def costliest(
    brain: Brain, limit: int = 20, *, since: datetime | None = None, until: datetime | None = None
) -> Results[TraceResult]:
    """Give the runs that cost most over all their stages, the costliest first; runs of unknown cost are left out."""
    return _largest(brain, traces.c.cost_usd, limit, since, until)


def decisions(
    brain: Brain,
    type: str | None = None,  # noqa: A002 # the word that people use, in `decisions(type="source_selection")`
    limit: int = 50,
    *,
    stage: str | None = None,
    component: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Results[DecisionResult]:
    """Give decisions of a type, stage or component, of the newest runs first, as they were taken within a run."""
    wanted = {"decision_type": type, "stage": stage, "component": component}
    conditions = [equal(trace_decisions.c[name], value) for name, value in wanted.items() if value is not None]
    statement = (
        sa.select(*_DECISION_COLUMNS)
        .join(traces, _looked_up(brain, trace_decisions.c.trace_id))
        .where(*conditions, *window(since, until))
        .order_by(*NEWEST, trace_decisions.c.position)
        .limit(checked_limit(limit))
    )
    return Results(decision_result(row) for row in brain.connection.execute(statement).mappings())


def runs_after(
    brain: Brain,
    last: TraceResult | None,
    *,
    intent: str | None = None,
    domain: str | None = None,
    project: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Sequence[TraceResult]:
    """Iterate over all runs that fit, newest first, in constant memory: PAGE runs are read at a time.

    Runs that begin in the meantime are not among them.
    """
    conditions = chosen(intent=intent, domain=domain, project_name=project, status=status)
    if last is not None:
        here = sa.tuple_(
            sa.literal(datetime.fromisoformat(last.started_at), traces.c.started_at.type),
            sa.literal(last.trace_id, traces.c.trace_id.type),
        )
        conditions.append(sa.tuple_(traces.c.started_at, traces.c.trace_id) < here)
    return newest_runs(brain, PAGE, *conditions, *window(since, until))


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
) -> Results[TraceResult]:
    """Give the runs in the database at `url` that fit all conditions, newest first, at most `limit`.

    `since` (a naive time is local) keeps runs that started then or later. Raises StoreUnavailableError.
    """
    conditions = [*chosen(intent=intent, domain=domain, project_name=project, status=status), *window(since, None)]
    return at_once(existing(url, pooler), Settings(), lambda brain: newest_runs(brain, limit, *conditions))


def find_run(url: str, wanted: str, *, pooler: str = "") -> TraceResult:
    """Give the one run that `wanted` names: `last`, a trace_id, or the beginning of one or of its hex digits.

    Raises RunNotFoundError, which names the candidates where there are several, and StoreUnavailableError.
    """
    target = existing(url, pooler)
    found = at_once(target, Settings(), lambda brain: _candidates(brain, wanted))
    if len(found) == 1:
        return found[0]
    raise RunNotFoundError(_why_not(target, wanted, found))


def _candidates(brain: Brain, wanted: str) -> Results[TraceResult]:
    if wanted == LAST:
        return newest_runs(brain, 1)
    begins = traces.c.trace_id.startswith(wanted, autoescape=True)
    # Every part of trc_<date>_<hex> may begin it, so that nobody has to type what all runs share.
    part_begins = traces.c.trace_id.contains(f"_{wanted}", autoescape=True)
    exact = newest_runs(brain, 1, equal(traces.c.trace_id, wanted))
    return exact or newest_runs(brain, CANDIDATES + 1, begins | part_begins)


def _why_not(target: Database, wanted: str, found: Sequence[TraceResult]) -> str:
    if wanted == LAST:
        return f"{target.place} holds no run yet: trace one, or try `ire-otel demo`"
    if not found:
        return f"no run {wanted!r} in {target.place}: `ire-otel runs` lists what is there"
    named = ", ".join(result.trace_id for result in found[:CANDIDATES])
    more = " and more" if len(found) > CANDIDATES else ""
    return f"{wanted!r} fits more than one run: {named}{more}; give more characters"


def _looked_up(brain: Brain, trace_id: sa.Column[str]) -> sa.ColumnElement[bool]:
    """Join what belongs to a run so that it is looked up for one run after the other, the newest first."""
    run = traces.c.trace_id
    # As an expression, the run's id cannot be looked up: else SQLite reads all that belongs to any run, and sorts it.
    return trace_id == (run.concat("") if brain.connection.dialect.name == "sqlite" else run)


def _largest(
    brain: Brain, column: sa.Column[Any], limit: int, since: datetime | None, until: datetime | None
) -> Results[TraceResult]:
    known = sa.select(*RUN_COLUMNS).where(column.is_not(None), *window(since, until))
    return runs(brain, known.order_by(column.desc(), *NEWEST), limit)
