"""The tables that hold, for each day (UTC, of `started_at`), the sums over its runs: daily_sums fills them."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Date, Float, Identity, Index, Integer, String, Table

from ire_otel.db.tables import metadata
from ire_otel.db.types import JsonObject


def _table(name: str, columns: Iterable[Column[Any]] = ()) -> Table:
    key = Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True)
    return Table(name, metadata, key, Column("day", Date, nullable=False), *columns)


def _texts(**lengths: int) -> list[Column[Any]]:
    return [Column(name, String(length)) for name, length in lengths.items()]


def _counts(*names: str) -> list[Column[Any]]:
    return [Column(name, Integer) for name in names]


def _totals(*names: str) -> list[Column[Any]]:
    return [Column(name, BigInteger) for name in names]


def _sums(*names: str) -> list[Column[Any]]:
    return [Column(name, Float) for name in names]


def _outcome() -> list[Column[Any]]:
    return [*_counts("passed", "failed", "scored"), *_sums("quality")]


stale_days: Final = _table("trace_stale_days")
"""Days whose sums are not to be read: a trigger adds a row for each run that is written or removed."""

daily_runs: Final = _table(
    "trace_daily_runs",
    (
        *_texts(status=20, intent=50, domain=100),
        *_counts("runs"),
        *_outcome(),
        *(*_counts("timed"), *_sums("duration")),
        *(*_counts("synthesis_costed"), *_sums("synthesis_cost")),
        *(*_counts("costed"), *_sums("cost")),
    ),
)
daily_principles: Final = _table(
    "trace_daily_principles",
    (
        *_texts(principle_id=200, intent=50, report_type=100),
        *_counts("judged", "gaps", "scored"),
        *(*_sums("score"), *_counts("below")),
    ),
)
daily_effects: Final = _table(
    "trace_daily_effects",
    (*_texts(decision_type=200, what=500), Column("again", Boolean), Column("scores", JsonObject)),
)
"""`scores`: by principle, the number of runs that it scored, how many of them below 2, and the sum of their scores.

`again`: of runs that took several options of the type, once for each but one. Taken off the sum over all options, it
leaves what the runs with any decision of the type amount to, each counted once.
"""

DAILY: Final = {
    "runs": daily_runs,
    "principles": daily_principles,
    "stages": _table(
        "trace_daily_stages", (*_texts(stage=200), *_counts("runs", "attempts"), *_sums("duration", "longest"))
    ),
    "durations": _table("trace_daily_durations", (*_texts(stage=200), *_sums("seconds"), *_counts("attempts"))),
    "usage": _table(
        "trace_daily_usage",
        (
            *_texts(model=200, intent=50),
            *_counts("runs"),
            *_totals("calls", "input_tokens", "output_tokens"),
            *_sums("cost_usd"),
        ),
    ),
    "sources": _table(
        "trace_daily_sources",
        (
            *_texts(source=200),
            *_counts("runs"),
            *_totals("collected", "kept", "filtered"),
            *(*_counts("rated"), *_sums("rating")),
            *_outcome(),
        ),
    ),
    "options": _table("trace_daily_options", (*_texts(decision_type=200, what=500), *_counts("runs"), *_outcome())),
    "components": _table(
        "trace_daily_components",
        (
            *_texts(component=200, decision_type=200),
            *_counts("runs", "decisions", "confident"),
            *(*_sums("confidence"), *_outcome()),
        ),
    ),
    "effects": daily_effects,
}
"""By name; the view `trace_stale_<name>` works out the same columns for the days in trace_stale_days, from the runs."""

for _daily in DAILY.values():
    Index(f"idx_{_daily.name}_day", _daily.c.day)

STALE_VIEWS: Final = tuple(f"trace_stale_{name}" for name in DAILY)
"""For the other views, and for whoever sums up."""
