"""Which decision goes with a principle's failures: every option that was taken, against the runs that took another."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from ire_otel.calibration.statistics import benjamini_hochberg, fisher_exact
from ire_otel.db.daily_tables import daily_effects
from ire_otel.db.tables import trace_decisions, trace_principle_scores, traces
from ire_otel.query.conditions import checked_limit, equal, held
from ire_otel.query.days import Days, added, days, whole
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
    counted = _counted(brain, principle_id, days(brain, since, until))
    types = _types(counted)
    pairs = [(row, types[row["decision_type"]]) for row in counted if not row["again"]]
    pairs = [(row, every) for row, every in pairs if row["runs"] >= least <= every["runs"] - row["runs"]]
    p_values = [fisher_exact(row["failed"], row["runs"], every["failed"], every["runs"]) for row, every in pairs]
    compared = zip(pairs, p_values, benjamini_hochberg(p_values), strict=True)
    effects = [_effect(row, every, p_value, q_value) for (row, every), p_value, q_value in compared]
    return Results(sorted(effects, key=lambda effect: (effect.p_value, effect.mean_score - effect.other_mean_score)))


def _counted(brain: Brain, principle_id: str, window: Days) -> list[dict[str, Any]]:
    """Count runs and failures by option; `again` is what runs with several options of a type count too often in it."""
    found = added(_summed(brain, principle_id, window), *_judged(principle_id, window)).c
    groups = (found.decision_type, found.what, found.again)
    statement = sa.select(
        *groups,
        whole(found.runs).label("runs"),
        whole(found.failed).label("failed"),
        sa.func.sum(found.total).label("total"),
    ).group_by(*groups)
    return [dict(row) for row in brain.connection.execute(statement).mappings()]


def _types(counted: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Count runs and failures by type of decision, each run once."""
    types: dict[str, dict[str, Any]] = {}
    for row in counted:
        every = types.setdefault(row["decision_type"], dict.fromkeys(_NUMBERS, 0))
        for name in _NUMBERS:
            every[name] += -row[name] if row["again"] else row[name]
    return types


def _summed(brain: Brain, principle_id: str, window: Days) -> sa.Select[*tuple[Any, ...]]:
    """Give the sums of whole days."""
    sums, wanted = daily_effects.c, held(trace_principle_scores.c.principle_id, principle_id)
    source: sa.FromClause = daily_effects
    if brain.connection.dialect.name == "sqlite":
        # A path could not hold every principle's id.
        each = sa.func.json_each(sums.scores).table_valued("key", "value", name="scored")
        source = daily_effects.join(each, each.c.key == wanted)
        numbers = [sa.func.json_extract(each.c.value, f"$[{place}]") for place in range(3)]
    else:
        of_principle = sums.scores[wanted]
        numbers = [of_principle[place].as_float() for place in range(3)]
    return (
        sa.select(sums.decision_type, sums.what, sums.again, *_named(*numbers))
        .select_from(source)
        .where(*window.summed(sums.day), numbers[0].is_not(None))
    )


def _judged(principle_id: str, window: Days) -> Iterator[sa.Select[*tuple[Any, ...]]]:
    """Give the same of runs that no day's sums hold."""
    scores, taken = trace_principle_scores.c, trace_decisions.c
    rows = (
        sa.select(taken.decision_type, taken.what, taken.trace_id, scores.score)
        .select_from(
            traces.join(trace_principle_scores, scores.trace_id == traces.c.trace_id).join(
                trace_decisions, taken.trace_id == traces.c.trace_id
            )
        )
        .where(
            equal(scores.principle_id, principle_id),
            scores.status == sa.literal_column("'complete'"),
            scores.score.is_not(None),
            window.other(),
        )
        .distinct()
        .cte("judged")
        .c
    )
    failed = sa.case((rows.score < GAP_BELOW, 1), else_=0)
    yield sa.select(
        rows.decision_type,
        rows.what,
        sa.literal_column("1 = 0", sa.Boolean).label("again"),
        *_named(sa.func.count(), sa.func.sum(failed), sa.func.sum(rows.score)),
    ).group_by(rows.decision_type, rows.what)
    several = (
        sa.select(rows.decision_type, rows.score, (sa.func.count() - 1).label("weight"))
        .group_by(rows.decision_type, rows.trace_id, rows.score)
        .having(sa.func.count() > 1)
        .subquery()
        .c
    )
    failed = sa.case((several.score < GAP_BELOW, several.weight), else_=0)
    yield sa.select(
        several.decision_type,
        sa.cast(sa.null(), rows.what.type),
        sa.literal_column("1 = 1", sa.Boolean),
        *_named(sa.func.sum(several.weight), sa.func.sum(failed), sa.func.sum(several.weight * several.score)),
    ).group_by(several.decision_type)


def _named(*numbers: sa.ColumnElement[Any]) -> Iterator[sa.ColumnElement[Any]]:
    return (number.label(name) for number, name in zip(numbers, _NUMBERS, strict=True))


_NUMBERS: Final = ("runs", "failed", "total")


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
