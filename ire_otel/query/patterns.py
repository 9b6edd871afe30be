"""Queries over many runs at once: the summary, and which principles fail."""

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ire_otel.db.daily_tables import daily_principles, daily_runs
from ire_otel.db.tables import trace_principle_scores, traces
from ire_otel.query.conditions import COMPLETE, checked_limit
from ire_otel.query.days import Days, added, days, mean, whole
from ire_otel.query.execution import Brain
from ire_otel.query.results import Results


def principle_patterns(
    brain: Brain, min_runs: int = 3, *, since: datetime | None = None, until: datetime | None = None
) -> Results[dict[str, Any]]:
    """Give the principles that were a gap in at least `min_runs` complete runs, the most frequent gap first.

    Each is `{"principle_id", "fail_count", "avg_score", "total_runs"}`: runs in which it was a gap, its mean score
    (0 to 3; None where the gate named gaps without scores), and runs in which it was judged.
    """
    least = checked_limit(min_runs, "min_runs")
    window = days(brain, since, until)
    sums = daily_principles.c
    columns = (sums.principle_id, sums.judged, sums.gaps, sums.scored, sums.score)
    found = added(sa.select(*columns).where(*window.summed(sums.day)), _judged(brain, window)).c
    fail_count = whole(found.gaps)
    statement = (
        sa.select(
            found.principle_id,
            fail_count.label("fail_count"),
            mean(found.score, found.scored).label("avg_score"),
            whole(found.judged).label("total_runs"),
        )
        .group_by(found.principle_id)
        .having(fail_count >= least)
        .order_by(fail_count.desc(), found.principle_id)
    )
    return Results(dict(row) for row in brain.connection.execute(statement).mappings())


def summary(brain: Brain, *, since: datetime | None = None, until: datetime | None = None) -> dict[str, Any]:
    """Count the runs, by how they ended and what the gate said, and give the means over the complete ones.

    Keys: total_runs, complete, failed, incomplete, qg_passed, qg_failed, avg_quality (0 to 3), avg_duration (seconds),
    avg_cost (US dollars, of synthesis); a mean is None where no run has the number.
    """
    window = days(brain, since, until)
    sums = daily_runs.c
    found = added(sa.select(*(sums[name] for name in _SUMMED)).where(*window.summed(sums.day)), _runs(window)).c

    def of(status: str, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.case((found.status == status, column))

    counts = {
        "total_runs": found.runs,
        **{status: of(status, found.runs) for status in ("complete", "failed", "incomplete")},
        "qg_passed": found.passed,
        "qg_failed": found.failed,
    }
    means = {
        "avg_quality": (found.quality, found.scored),
        "avg_duration": (found.duration, found.timed),
        "avg_cost": (found.synthesis_cost, found.synthesis_costed),
    }
    statement = sa.select(
        *(sa.func.coalesce(whole(column), 0).label(name) for name, column in counts.items()),
        *(mean(*(of("complete", column) for column in pair)).label(name) for name, pair in means.items()),
    )
    return dict(brain.connection.execute(statement).mappings().one())


_SUMMED: Final = (
    *("status", "runs", "passed", "failed", "scored", "quality", "timed", "duration"),
    *("synthesis_costed", "synthesis_cost"),
)


def _runs(window: Days) -> sa.Select[*tuple[Any, ...]]:
    """Sum up runs that no day's sums hold, in the columns of _SUMMED."""
    count, total = sa.func.count, sa.func.sum
    return (
        sa.select(
            traces.c.status,
            count(),
            count().filter(traces.c.quality_gate_passed == sa.true()),
            count().filter(traces.c.quality_gate_passed == sa.false()),
            *(count(traces.c.overall_quality_score), total(traces.c.overall_quality_score)),
            *(count(traces.c.duration_seconds), total(traces.c.duration_seconds)),
            *(count(traces.c.synthesis_cost_usd), total(traces.c.synthesis_cost_usd)),
        )
        .where(window.other())
        .group_by(traces.c.status)
    )


def _judged(brain: Brain, window: Days) -> sa.Select[*tuple[Any, ...]]:
    """Sum up the scores and gaps of runs that no day's sums hold; a gate may have named gaps without giving scores."""
    if brain.connection.dialect.name == "sqlite":
        gap = sa.func.json_each(traces.c.gap_principles).table_valued("value", name="gap")
    else:
        gap = sa.func.unnest(traces.c.gap_principles).table_valued("value").render_derived(name="gap")
    scores = trace_principle_scores.c
    no, yes = sa.literal_column("0", sa.Integer), sa.literal_column("1", sa.Integer)
    scored = (
        sa.select(scores.principle_id, scores.trace_id, scores.score, no.label("gaps"))
        .join(traces, traces.c.trace_id == scores.trace_id)
        .where(scores.status == sa.literal_column("'complete'"), window.other())
    )
    named = (
        sa.select(sa.func.substr(gap.c.value, 1, 200), traces.c.trace_id, sa.cast(sa.null(), sa.Float), yes)
        .select_from(traces.join(gap, sa.true()))
        .where(COMPLETE, window.other())
    )
    one = sa.union_all(scored, named).subquery().c
    # Once a run.
    of_run = (
        sa.select(one.principle_id, sa.func.max(one.score).label("score"), sa.func.sum(one.gaps).label("gaps"))
        .group_by(one.principle_id, one.trace_id)
        .subquery()
        .c
    )
    return sa.select(
        of_run.principle_id,
        sa.func.count(),
        sa.func.sum(of_run.gaps),
        sa.func.count(of_run.score),
        sa.func.sum(of_run.score),
    ).group_by(of_run.principle_id)
