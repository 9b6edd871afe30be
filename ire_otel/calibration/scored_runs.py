"""What the policies look at: which principles each complete run failed, from the database, newest run first."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ire_otel import semconv
from ire_otel.calibration.policies import RATE_HISTORY, RATE_PERIOD, Group, History, ScoredRun
from ire_otel.db.tables import traces

WEEK_LIMIT: Final = 5_000
"""Most runs of the last days that `count` looks at, the newest."""

_COMPLETE: Final = traces.c.status == sa.literal_column("'complete'")
_NEWEST: Final = (traces.c.started_at.desc(), traces.c.trace_id.desc())


class JudgedRun(NamedTuple):
    """One complete run, and what the gate made of it."""

    trace_id: str
    project_name: str | None
    started_at: datetime
    intent: str | None
    report_type: str | None
    failed: Mapping[str, bool]
    """By principle: scored below 2, or named as a gap without a score."""

    @property
    def group(self) -> Group:
        """Intent and report type."""
        return self.intent, self.report_type


def one(connection: sa.Connection, trace_id: str) -> JudgedRun | None:
    """Give a run, whatever its status; None where it has no row."""
    found = _judged(connection, sa.select(*_COLUMNS).where(traces.c.trace_id == trace_id))
    return found[0] if found else None


def started_since(connection: sa.Connection, moment: datetime) -> list[JudgedRun]:
    """Give the newest WEEK_LIMIT runs since `moment`."""
    statement = sa.select(*_COLUMNS).where(_COMPLETE, traces.c.started_at >= moment)
    return _judged(connection, statement.order_by(*_NEWEST).limit(WEEK_LIMIT))


def newest_of(connection: sa.Connection, group: Group) -> list[JudgedRun]:
    """Give the newest RATE_HISTORY runs of an intent and report type."""
    intent, report_type = group
    conditions = (_COMPLETE, _is(traces.c.intent, intent), _is(traces.c.report_type, report_type))
    return _judged(connection, sa.select(*_COLUMNS).where(*conditions).order_by(*_NEWEST).limit(RATE_HISTORY))


def groups_since(connection: sa.Connection, moment: datetime) -> set[Group]:
    """Give the intents and report types of which runs began since `moment`."""
    columns = (traces.c.intent, traces.c.report_type)
    statement = sa.select(*columns).where(_COMPLETE, traces.c.started_at >= moment).distinct()
    return {(intent, report_type) for intent, report_type in connection.execute(statement)}


def looks(connection: sa.Connection, now: datetime) -> int:
    """Count the runs, of all kinds, that began in the RATE_PERIOD before `now`."""
    began = (traces.c.started_at > now - RATE_PERIOD, traces.c.started_at <= now)
    return connection.scalar(sa.select(sa.func.count()).select_from(traces).where(*began)) or 0


def histories(runs: Sequence[JudgedRun], principles: Collection[str] | None = None) -> list[History]:
    """Turn runs into a history for each principle (None: all of them) of each intent and report type."""
    found: defaultdict[Group, defaultdict[str, list[ScoredRun]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        of_group = found[run.group]
        passed, failed = (ScoredRun(started_at=run.started_at, failed=is_gap) for is_gap in (False, True))
        for principle_id, is_gap in run.failed.items():
            if principles is None or principle_id in principles:
                of_group[principle_id].append(failed if is_gap else passed)
    return [
        History(principle_id=principle_id, intent=intent, report_type=report_type, runs=scored)
        for (intent, report_type), of_group in found.items()
        for principle_id, scored in of_group.items()
    ]


_COLUMNS: Final = (
    *(traces.c[name] for name in JudgedRun._fields if name != "failed"),
    traces.c.principle_scores,
    traces.c.gap_principles,
)


def _judged(connection: sa.Connection, statement: sa.Select[Any]) -> list[JudgedRun]:
    return [
        JudgedRun._make([*row[:-2], _failed(row.principle_scores or {}, row.gap_principles or ())])
        for row in connection.execute(statement)
    ]


def _failed(scores: Mapping[str, Any], gaps: Sequence[str]) -> dict[str, bool]:
    scored = {id_: score < semconv.GAP_BELOW for id_, score in scores.items() if score is not None}
    return {**dict.fromkeys(gaps, True), **scored}


def _is(column: sa.Column[Any], value: str | None) -> sa.ColumnElement[bool]:
    return column.is_(None) if value is None else column == value
