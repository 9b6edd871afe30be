"""However many runs there are, the queries of calibration read an index instead of the table, on both databases."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from ire_otel.calibration.flags import list_flags
from ire_otel.db.engine import database, engine
from ire_otel.query import runs
from ire_otel.query.execution import Brain
from ire_otel.settings import Settings

SIZES = (1, 1_000, 100_000)
"""Runs in the table."""


QUERIES: dict[str, Callable[[Brain], Any]] = {
    "idx_traces_intent": lambda brain: runs.by_intent(brain, "intent 3"),
    "idx_traces_domain": lambda brain: runs.by_domain(brain, "domain 3"),
    "idx_traces_project_name": lambda brain: runs.by_project(brain, "project 3"),
    "idx_trace_principle_scores_gaps": lambda brain: runs.low_scoring_principle(brain, "META-1"),
    "idx_traces_quality_gate": runs.quality_gate_failures,
    "idx_traces_flagged": runs.flagged_for_review,
    "idx_traces_unfinished": lambda brain: runs.runs_after(brain, None, intent="intent 30", status="incomplete"),
    "idx_traces_started": lambda brain: runs.low_scoring_principle(brain, "META-1", 3),
    "idx_trace_flags_status": lambda brain: list_flags(brain, "open"),
}
ON_POSTGRES_ONLY: dict[str, Callable[[Brain], Any]] = {
    "idx_traces_cost": runs.costliest,
    "idx_traces_duration": runs.slowest,
    "idx_trace_decisions_type": lambda brain: runs.decisions(brain, "never taken"),
}
"""On SQLite, these indexes would cost every run too much."""
# Runs a quarter of an hour apart. What is asked for is rare, because there a wrong index reads the whole table: one in
# 100 has the intent, domain or project, one in 50 fails the gate or has a gap, one in 200 is flagged, none has the
# decision. Nine in ten are complete.
FILL = (
    """
    INSERT INTO traces (trace_id, started_at, status, intent, domain, report_type, project_name, quality_gate_passed,
        flagged_for_review, overall_quality_score, cost_usd, duration_seconds)
    SELECT 'trc_' || n, {time}, CASE n % 10 WHEN 0 THEN 'incomplete' ELSE 'complete' END, 'intent ' || (n % 100),
        'domain ' || (n % 100), 'report ' || (n % 3), 'project ' || (n % 100), n % 50 <> 1, n % 200 = 1, n % 4,
        n % 991, n % 983
    FROM {numbers}
    """,
    """
    INSERT INTO trace_principle_scores (trace_id, principle_id, score, started_at, status)
    SELECT 'trc_' || n, 'META-' || p, CASE n % 50 * p WHEN 1 THEN 1 ELSE 2 + n % 2 END, {time},
        CASE n % 10 WHEN 0 THEN 'incomplete' ELSE 'complete' END
    FROM {numbers} CROSS JOIN (SELECT 1 AS p UNION ALL SELECT 2) AS principles
    """,
    """
    INSERT INTO trace_decisions (trace_id, position, stage, attempt, decision_type)
    SELECT 'trc_' || n, p, 'stage', 1, 'type ' || p
    FROM {numbers} CROSS JOIN (SELECT 1 AS p UNION ALL SELECT 2) AS places
    """,
    """
    INSERT INTO trace_flags (policy, principle_id, message, status, first_raised_at, last_raised_at)
    SELECT 'count', 'META-' || n, '', CASE n % 5 WHEN 0 THEN 'open' ELSE 'resolved' END, {time}, {time}
    FROM {numbers}
    """,
)
ON_SQLITE = {
    "numbers": """
    (WITH RECURSIVE r(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM r WHERE n < {last}) SELECT n FROM r)
    """,
    "time": "strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1770000000 + n * 900, 'unixepoch')",
}
ON_POSTGRESQL = {
    "numbers": "generate_series({first}, {last}) AS r(n)",
    "time": "to_timestamp(1770000000 + n * 900.0)",
}


def test_sqlite_uses_the_indexes(sqlite_url: str) -> None:
    """Whether there is one run or 100,000; what an index gives in order is not sorted again."""
    path = database(sqlite_url).file
    assert path is not None
    filled = 0
    for size in SIZES:
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in _fill(ON_SQLITE, filled, size):
                connection.execute(statement)
            if filled:
                # Of one run SQLite learns that every index is as good.
                connection.execute("ANALYZE")
        filled = size
        for index, query in QUERIES.items():
            plan = _plan(sqlite_url, query, "EXPLAIN QUERY PLAN ")
            assert index in plan, (size, plan)
            assert "TEMP B-TREE FOR ORDER BY" not in plan, (size, plan)


def test_postgres_uses_the_indexes(postgres_url: str) -> None:
    """From 1,000 runs on; with one, reading all is as good."""
    filled = 0
    for size in SIZES[1:]:
        with psycopg.connect(postgres_url) as connection:
            # Nobody else writes here: what refers to a run need not be looked up.
            connection.execute("SET session_replication_role = replica")
            for statement in _fill(ON_POSTGRESQL, filled, size):
                connection.execute(statement.encode())
            connection.commit()
            connection.autocommit = True
            connection.execute("VACUUM ANALYZE")
        filled = size
        for index, query in (QUERIES | ON_POSTGRES_ONLY).items():
            plan = _plan(postgres_url, query, "EXPLAIN ")
            assert index in plan, (size, plan)
            # To look up nine runs, reading a table of 1,000 is as good.
            assert size < SIZES[-1] or "Seq Scan" not in plan, (size, plan)


@pytest.mark.parametrize("threshold", [0.5, 2])
def test_the_least_threshold_uses_the_index_too(sqlite_url: str, threshold: float) -> None:
    """A threshold is a bound value; at most 2, the query states what the index holds beside it."""
    plan = _plan(
        sqlite_url, lambda brain: runs.low_scoring_principle(brain, "META-1", threshold), "EXPLAIN QUERY PLAN "
    )
    assert "idx_trace_principle_scores_gaps" in plan


def _fill(words: dict[str, str], filled: int, size: int) -> list[str]:
    numbers = words["numbers"].format(first=filled + 1, last=size)
    return [statement.format(numbers=numbers, time=words["time"]) for statement in FILL]


def _plan(url: str, query: Callable[[Brain], Any], explain: str) -> str:
    """Ask the query, and have the statement that it made explained."""
    made = engine(database(url))
    asked: list[tuple[str, Any]] = []

    @event.listens_for(made, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        asked.append((statement, parameters))

    with made.connect() as connection:
        query(Brain(Settings(), connection))
        statement, parameters = asked[-1]
        lines = connection.exec_driver_sql(explain + statement, parameters).all()
    return "\n".join(str(line[-1]) for line in lines)
