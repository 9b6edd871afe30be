"""Which decision goes with a principle's failures: every option that was taken, against the runs that took another."""

from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from ire_otel.calibration.statistics import benjamini_hochberg, fisher_exact
from ire_otel.db.tables import trace_decisions, trace_principle_scores
from ire_otel.query.conditions import checked_limit, equal, window
from ire_otel.query.execution import Brain
from ire_otel.query.results import Results
from ire_otel.semconv import GAP_BELOW


class DecisionEffect(msgspec.Struct, frozen=True, kw_only=True):
    """How a principle fared where one option was taken, and where another of the same type of decision was."""

    decision_type: str
    what: str | None
    """The option, as rows hold it: cut at 500 characters."""
    runs: int
    """Complete runs that took it and were judged by the principle."""
    fail_rate: float
    """Share of those in which the principle scored below 2, 0 to 1."""
    mean_score: float
    """0 to 3."""
    other_runs: int
    """Complete runs with a decision of this type that never took this option."""
    other_fail_rate: float
    other_mean_score: float
    p_value: float
    """Fisher's exact test, one-sided: that the principle fails more often where the option is taken."""
    q_value: float
    """The p-value adjusted for all options that were compared (Benjamini and Hochberg)."""


def decision_effects(
    brain: Brain, principle_id: str, min_runs: int = 3, *, since: datetime | None = None, until: datetime | None = None
) -> Results[DecisionEffect]:
    """Compare, for each option of each type of decision, how often the principle failed with it and without it.

    Options that fewer than `min_runs` runs took, or fewer than `min_runs` did not, are left out. The most telling comes
    first. It is association: an option may merely go together with what does the harm.
    """
    least = checked_limit(min_runs, "min_runs")
    judged = _judged(principle_id, since, until)
    options = _counts(brain, judged, "decision_type", "what")
    types = {row["decision_type"]: row for row in _counts(brain, judged, "decision_type")}
    pairs = [(row, types[row["decision_type"]]) for row in options]
    pairs = [(row, every) for row, every in pairs if row["runs"] >= least <= every["runs"] - row["runs"]]
    p_values = [fisher_exact(row["failed"], row["runs"], every["failed"], every["runs"]) for row, every in pairs]
    compared = zip(pairs, p_values, benjamini_hochberg(p_values), strict=True)
    effects = [_effect(row, every, p_value, q_value) for (row, every), p_value, q_value in compared]
    return Results(sorted(effects, key=lambda effect: (effect.p_value, effect.mean_score - effect.other_mean_score)))


def _judged(principle_id: str, since: datetime | None, until: datetime | None) -> sa.Subquery:
    """Give what was decided in the runs that the principle judged, once a run and option, with its score."""
    scores, taken = trace_principle_scores.c, trace_decisions.c
    return (
        sa.select(taken.decision_type, taken.what, taken.trace_id, scores.score)
        .distinct()
        .select_from(trace_decisions.join(trace_principle_scores, taken.trace_id == scores.trace_id))
        .where(
            equal(scores.principle_id, principle_id),
            scores.status == sa.literal_column("'complete'"),
            scores.score.is_not(None),
            *window(since, until, scores.started_at),
        )
        .subquery()
    )


def _counts(brain: Brain, judged: sa.Subquery, *keys: str) -> list[dict[str, Any]]:
    """Count runs and failures by these columns, each run once."""
    once = sa.select(*(judged.c[key] for key in (*keys, "trace_id", "score"))).distinct().subquery()
    failed = sa.case((once.c.score < GAP_BELOW, _ONE), else_=_NONE)
    groups = [once.c[key] for key in keys]
    statement = sa.select(
        *groups,
        sa.func.count().label("runs"),
        sa.func.sum(failed).label("failed"),
        sa.func.sum(once.c.score).label("total"),
    ).group_by(*groups)
    return [dict(row) for row in brain.connection.execute(statement).mappings()]


_ONE: Final = sa.literal_column("1", sa.Integer)
_NONE: Final = sa.literal_column("0", sa.Integer)


def _effect(row: dict[str, Any], every: dict[str, Any], p_value: float, q_value: float) -> DecisionEffect:
    runs, others = row["runs"], every["runs"] - row["runs"]
    return DecisionEffect(
        decision_type=row["decision_type"],
        what=row["what"],
        runs=runs,
        fail_rate=row["failed"] / runs,
        mean_score=row["total"] / runs,
        other_runs=others,
        other_fail_rate=(every["failed"] - row["failed"]) / others,
        other_mean_score=(every["total"] - row["total"]) / others,
        p_value=p_value,
        q_value=q_value,
    )
