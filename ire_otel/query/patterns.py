"""Queries over many runs at once: the summary, and which principles fail."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ire_otel.db.tables import trace_principle_scores, traces
from ire_otel.query.conditions import COMPLETE, checked_limit, window
from ire_otel.query.execution import Brain
from ire_otel.query.results import Results


def principle_patterns(
    brain: Brain, min_runs: int = 3, *, since: datetime | None = None, until: datetime | None = None
) -> Results[dict[str, Any]]:
    """Give the principles that were a gap in at least `min_runs` complete runs, the most frequent gap first.

    Each is `{"principle_id", "fail_count", "avg_score", "total_runs"}`: runs in which it was a gap, its mean score
    (0 to 3; None where the gate named gaps without scores), and runs in which it was judged.
    """
    judged = _judged(brain, since, until)
    fail_count = sa.func.sum(judged.c.failed)
    statement = (
        sa.select(
            judged.c.principle_id,
            fail_count.label("fail_count"),
            sa.func.avg(judged.c.score).label("avg_score"),
            sa.func.count(sa.distinct(judged.c.trace_id)).label("total_runs"),
        )
        .group_by(judged.c.principle_id)
        .having(fail_count >= checked_limit(min_runs, "min_runs"))
        .order_by(fail_count.desc(), judged.c.principle_id)
    )
    return Results(dict(row) for row in brain.connection.execute(statement).mappings())


def summary(brain: Brain, *, since: datetime | None = None, until: datetime | None = None) -> dict[str, Any]:
    """Count the runs, by how they ended and what the gate said, and give the means over the complete ones.

    Keys: total_runs, complete, failed, incomplete, qg_passed, qg_failed, avg_quality (0 to 3), avg_duration (seconds),
    avg_cost (US dollars, of synthesis); a mean is None where no run has the number.
    """
    count, average = sa.func.count(), sa.func.avg
    statement = sa.select(
        count.label("total_runs"),
        *(count.filter(traces.c.status == status).label(status) for status in ("complete", "failed", "incomplete")),
        count.filter(traces.c.quality_gate_passed == sa.true()).label("qg_passed"),
        count.filter(traces.c.quality_gate_passed == sa.false()).label("qg_failed"),
        average(traces.c.overall_quality_score).filter(COMPLETE).label("avg_quality"),
        average(traces.c.duration_seconds).filter(COMPLETE).label("avg_duration"),
        average(traces.c.synthesis_cost_usd).filter(COMPLETE).label("avg_cost"),
    ).where(*window(since, until))
    return dict(brain.connection.execute(statement).mappings().one())


def _judged(brain: Brain, since: datetime | None, until: datetime | None) -> sa.Subquery:
    """Give scores and gaps, one row each: a gate may have named gaps without giving scores."""
    if brain.connection.dialect.name == "sqlite":
        gap = sa.func.json_each(traces.c.gap_principles).table_valued("value", name="gap")
    else:
        gap = sa.func.unnest(traces.c.gap_principles).table_valued("value").render_derived(name="gap")
    scores = trace_principle_scores.c
    no, yes = sa.literal_column("0", sa.Integer), sa.literal_column("1", sa.Integer)
    scored = sa.select(scores.principle_id, scores.trace_id, scores.score, no.label("failed")).where(
        scores.status == sa.literal_column("'complete'"), *window(since, until, scores.started_at)
    )
    named = (
        sa.select(gap.c.value, traces.c.trace_id, sa.cast(sa.null(), sa.Float), yes)
        .select_from(traces.join(gap, sa.true()))
        .where(COMPLETE, *window(since, until))
    )
    return sa.union_all(scored, named).subquery()
