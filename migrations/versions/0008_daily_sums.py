"""Sums by day of what the views sum up: their tables, which days have changed since, and what the sums are made of.

Revision ID: 0008
Revises: 0007
"""

from datetime import date
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Date, Float, Identity, Integer, String

from ire_otel.db import access
from ire_otel.db.types import JsonObject

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
created = "20261125140100"


def upgrade() -> None:
    """Make the tables, empty, and mark every day that has runs, so that those are read instead."""
    for name in DAILY:
        op.create_table(f"trace_daily_{name}", _key(), _day(), *_columns(name))
        op.create_index(f"idx_trace_daily_{name}_day", f"trace_daily_{name}", ["day"])
    op.create_table("trace_stale_days", _key(), _day())
    for statement in TRIGGERS_ON_POSTGRESQL if _on_postgresql() else TRIGGERS_ON_SQLITE:
        op.execute(statement.replace("{watched}", WATCHED))
    day = _words()["day_of_run"].format("traces")
    new = "random(), " if not _on_postgresql() else ""
    columns = "id, day" if new else "day"
    marked = f"SELECT DISTINCT {day} AS day FROM traces"  # noqa: S608 # of this file
    op.execute(f"INSERT INTO trace_stale_days ({columns}) SELECT {new}day FROM ({marked}) AS days")  # noqa: S608 # as above
    access.close(op, "trace_stale_days", *(f"trace_daily_{name}" for name in DAILY))
    for name, query in STALE.items():
        _make_view(f"trace_stale_{name}", query)
    if _on_postgresql():
        op.execute(access.block(*(f"trace_stale_{name}" for name in STALE)))


def downgrade() -> None:
    """Remove the sums."""
    for name in STALE:
        op.execute(f"DROP VIEW trace_stale_{name}")
    for statement in NO_TRIGGERS_ON_POSTGRESQL if _on_postgresql() else NO_TRIGGERS_ON_SQLITE:
        op.execute(statement)
    for name in ("stale_days", *(f"daily_{name}" for name in DAILY)):
        op.drop_table(f"trace_{name}")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _words() -> dict[str, str]:
    return ON_POSTGRESQL if _on_postgresql() else ON_SQLITE


def _make_view(name: str, query: str) -> None:
    # Else a view has the rights of its owner, whom row level security lets pass.
    options = " WITH (security_invoker = on)" if _on_postgresql() else ""
    op.execute(f"CREATE VIEW {name}{options} AS {_filled(query)}")


def _filled(query: str) -> str:
    """Put in what the two databases say differently; some of it has words of its own."""
    while True:
        filled = query.format(**_words(), **SHARED)
        if filled == query:
            return query
        query = filled


def _key() -> Column[int]:
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True)


def _day() -> Column[date]:
    return Column("day", Date, nullable=False)


def _columns(name: str) -> list[Column[Any]]:
    return [Column(column, kind) for column, kind in DAILY[name].items()]


OUTCOME: dict[str, sa.types.TypeEngine[Any]] = {
    "passed": Integer(),
    "failed": Integer(),
    "scored": Integer(),
    "quality": Float(),
}
DAILY: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {
    "runs": {
        "status": String(20),
        "intent": String(50),
        "domain": String(100),
        "runs": Integer(),
        **OUTCOME,
        "timed": Integer(),
        "duration": Float(),
        "synthesis_costed": Integer(),
        "synthesis_cost": Float(),
        "costed": Integer(),
        "cost": Float(),
    },
    "principles": {
        "principle_id": String(200),
        "intent": String(50),
        "report_type": String(100),
        "judged": Integer(),
        "gaps": Integer(),
        "scored": Integer(),
        "score": Float(),
        "below": Integer(),
    },
    "stages": {
        "stage": String(200),
        "runs": Integer(),
        "attempts": Integer(),
        "duration": Float(),
        "longest": Float(),
    },
    "durations": {"stage": String(200), "seconds": Float(), "attempts": Integer()},
    "usage": {
        "model": String(200),
        "intent": String(50),
        "runs": Integer(),
        "calls": BigInteger(),
        "input_tokens": BigInteger(),
        "output_tokens": BigInteger(),
        "cost_usd": Float(),
    },
    "sources": {
        "source": String(200),
        "runs": Integer(),
        "collected": BigInteger(),
        "kept": BigInteger(),
        "filtered": BigInteger(),
        "rated": Integer(),
        "rating": Float(),
        **OUTCOME,
    },
    "options": {"decision_type": String(200), "what": String(500), "runs": Integer(), **OUTCOME},
    "components": {
        "component": String(200),
        "decision_type": String(200),
        "runs": Integer(),
        "decisions": Integer(),
        "confident": Integer(),
        "confidence": Float(),
        **OUTCOME,
    },
    # scores: by principle, the runs that it scored, how many of them below 2, and the sum of the scores.
    # again: of runs that took several options of the type, for each but one; what is then NULL, as an option's may be.
    # Taken off the sum over all options, it leaves what the runs with any decision of the type amount to.
    "effects": {"decision_type": String(200), "what": String(500), "again": Boolean(), "scores": JsonObject},
}
"""What is known of each day, by table: trace_daily_<name>."""

# Each marker is a row of its own, so that no writer waits for another, nor for whoever sums up.
TRIGGERS_ON_POSTGRESQL = (
    """
CREATE FUNCTION trace_mark_stale_day() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS
$$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO trace_stale_days (day) SELECT DISTINCT day FROM trace_daily_runs;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO trace_stale_days (day) VALUES (CAST(NEW.started_at AT TIME ZONE 'UTC' AS DATE));
    END IF;
    IF TG_OP <> 'INSERT' AND (TG_OP = 'DELETE' OR OLD.started_at <> NEW.started_at) THEN
        INSERT INTO trace_stale_days (day) VALUES (CAST(OLD.started_at AT TIME ZONE 'UTC' AS DATE));
    END IF;
    RETURN NULL;
END
$$
""",
    """
CREATE TRIGGER mark_traces_stale AFTER INSERT OR DELETE OR UPDATE OF {watched} ON traces
FOR EACH ROW EXECUTE FUNCTION trace_mark_stale_day()
""",
    """
CREATE TRIGGER mark_all_traces_stale AFTER TRUNCATE ON traces
FOR EACH STATEMENT EXECUTE FUNCTION trace_mark_stale_day()
""",
)
# SQLite gives the numbers of removed rows again, but whoever sums up knows marks by them.
TRIGGERS_ON_SQLITE = (
    """
CREATE TRIGGER mark_traces_stale_insert AFTER INSERT ON traces
BEGIN
    INSERT INTO trace_stale_days (id, day) VALUES (random(), substr(NEW.started_at, 1, 10));
END
""",
    """
CREATE TRIGGER mark_traces_stale_delete AFTER DELETE ON traces
BEGIN
    INSERT INTO trace_stale_days (id, day) VALUES (random(), substr(OLD.started_at, 1, 10));
END
""",
    """
CREATE TRIGGER mark_traces_stale_update AFTER UPDATE OF {watched} ON traces
BEGIN
    INSERT INTO trace_stale_days (id, day) VALUES (random(), substr(NEW.started_at, 1, 10));
    INSERT INTO trace_stale_days (id, day)
    SELECT random(), substr(OLD.started_at, 1, 10) WHERE OLD.started_at IS NOT NEW.started_at;
END
""",
)
NO_TRIGGERS_ON_POSTGRESQL = (
    "DROP TRIGGER mark_all_traces_stale ON traces",
    "DROP TRIGGER mark_traces_stale ON traces",
    "DROP FUNCTION trace_mark_stale_day()",
)
NO_TRIGGERS_ON_SQLITE = tuple(f"DROP TRIGGER mark_traces_stale_{event}" for event in ("insert", "delete", "update"))

# On Postgres the subqueries keep the planner from reading a whole table for the few runs of stale days. The last
# condition says again what the two before it say: from it alone the planner gathers that they are few. Else it compiles
# the query (JIT), which takes longer than the answer.
ON_POSTGRESQL = {
    "day_of_run": "CAST({}.started_at AT TIME ZONE 'UTC' AS DATE)",
    "stale_runs": """unnest(ARRAY(SELECT DISTINCT day FROM trace_stale_days)) AS stale (day)
    CROSS JOIN LATERAL (
        SELECT * FROM traces
        WHERE started_at >= CAST(stale.day AS TIMESTAMP) AT TIME ZONE 'UTC'
            AND started_at < CAST(stale.day + 1 AS TIMESTAMP) AT TIME ZONE 'UTC'
            AND CAST(started_at AT TIME ZONE 'UTC' AS DATE) = stale.day
        OFFSET 0
    ) AS run""",
    "judged": "(SELECT own.* FROM {stale_runs} {its_principle_scores}) AS judged",
    "gap": "CROSS JOIN LATERAL unnest(run.gap_principles) AS gap (value)",
    "by_key": "jsonb_object_agg",
    "array": "jsonb_build_array",
    "true": "TRUE",
    "false": "FALSE",
} | {
    f"its_{name}": f"CROSS JOIN LATERAL (SELECT * FROM trace_{name} WHERE trace_id = run.trace_id OFFSET 0) AS own"  # noqa: S608 # of this file
    for name in ("principle_scores", "stages", "model_usage", "sources", "decisions")
}
ON_SQLITE = {
    "day_of_run": "substr({}.started_at, 1, 10)",
    "stale_runs": """(SELECT DISTINCT day FROM trace_stale_days) AS stale
    CROSS JOIN traces AS run
        ON run.started_at >= CAST(stale.day AS TEXT) AND run.started_at < date(stale.day, '+1 day')""",
    "judged": "trace_principle_scores AS judged",
    "gap": "CROSS JOIN json_each(run.gap_principles) AS gap",
    "by_key": "json_group_object",
    "array": "json_array",
    "true": "1",
    "false": "0",
} | {
    f"its_{name}": f"CROSS JOIN trace_{name} AS own ON own.trace_id = run.trace_id"
    for name in ("principle_scores", "stages", "model_usage", "sources", "decisions")
}
WATCHED = (
    "trace_id, intent, domain, report_type, status, quality_gate_passed, overall_quality_score, started_at,"
    " duration_seconds, synthesis_cost_usd, cost_usd, gap_principles"
)
"""Columns of traces: an UPDATE that names one of them may change a sum. Writing a run again names them all."""


def _rounded_seconds() -> str:
    """Give the SQL that rounds a duration by at most 1 % (below a millisecond: by 10 µs)."""
    steps = "".join(
        f" WHEN own.duration_seconds < {upper}e{decade} THEN {step}e{decade - 2}"
        for decade in range(-3, 6)
        for upper, step in ((2, 2), (5, 4), (10, 10))
    )
    step = f"CASE WHEN own.duration_seconds < 1e-3 THEN 2e-5{steps} ELSE 2e4 END"
    return f"ROUND(own.duration_seconds / ({step})) * ({step})"


SHARED = {
    "seconds": _rounded_seconds(),
    "outcome_of_runs": """
    COUNT(*) FILTER (WHERE quality_gate_passed) AS passed,
    COUNT(*) FILTER (WHERE NOT quality_gate_passed) AS failed,
    COUNT(overall_quality_score) AS scored,
    SUM(overall_quality_score) AS quality""",
}
STALE = {
    "runs": """
SELECT
    stale.day, status, intent, domain,
    COUNT(*) AS runs, {outcome_of_runs},
    COUNT(duration_seconds) AS timed,
    SUM(duration_seconds) AS duration,
    COUNT(synthesis_cost_usd) AS synthesis_costed,
    SUM(synthesis_cost_usd) AS synthesis_cost,
    COUNT(cost_usd) AS costed,
    SUM(cost_usd) AS cost
FROM {stale_runs}
GROUP BY stale.day, status, intent, domain
""",
    # A gate may have named gaps without giving scores, so a run has judged what it scored or named.
    "principles": """
SELECT
    day, principle_id, intent, report_type,
    SUM(judged) AS judged,
    SUM(gaps) AS gaps,
    COUNT(score) AS scored,
    SUM(score) AS score,
    COUNT(*) FILTER (WHERE score < 2) AS below
FROM (
    SELECT stale.day, own.principle_id, own.intent, own.report_type, 1 AS judged, 0 AS gaps, own.score
    FROM {stale_runs} {its_principle_scores}
    WHERE own.status = 'complete'
    UNION ALL
    SELECT
        stale.day, CAST(substr(gap.value, 1, 200) AS VARCHAR(200)), run.intent, run.report_type,
        CASE WHEN EXISTS (
            SELECT 1 FROM trace_principle_scores AS known
            WHERE known.trace_id = run.trace_id AND known.principle_id = substr(gap.value, 1, 200)
                AND known.status = 'complete'
        ) THEN 0 ELSE 1 END,
        COUNT(*),
        CAST(NULL AS FLOAT)
    FROM {stale_runs} {gap}
    WHERE run.status = 'complete'
    GROUP BY stale.day, gap.value, run.intent, run.report_type, run.trace_id
) AS judgements
GROUP BY day, principle_id, intent, report_type
""",
    "stages": """
SELECT
    stale.day, own.stage,
    COUNT(DISTINCT run.trace_id) AS runs,
    COUNT(*) AS attempts,
    SUM(own.duration_seconds) AS duration,
    MAX(own.duration_seconds) AS longest
FROM {stale_runs} {its_stages}
WHERE run.status = 'complete' AND own.duration_seconds IS NOT NULL
GROUP BY stale.day, own.stage
""",
    "durations": """
SELECT stale.day, own.stage, {seconds} AS seconds, COUNT(*) AS attempts
FROM {stale_runs} {its_stages}
WHERE run.status = 'complete' AND own.duration_seconds IS NOT NULL
GROUP BY stale.day, own.stage, {seconds}
""",
    "usage": """
SELECT
    stale.day, own.model, run.intent,
    COUNT(*) AS runs,
    SUM(own.calls) AS calls,
    SUM(own.input_tokens) AS input_tokens,
    SUM(own.output_tokens) AS output_tokens,
    SUM(own.cost_usd) AS cost_usd
FROM {stale_runs} {its_model_usage}
GROUP BY stale.day, own.model, run.intent
""",
    "sources": """
SELECT
    stale.day, own.source,
    COUNT(*) AS runs,
    SUM(own.collected) AS collected,
    SUM(own.kept) AS kept,
    SUM(own.filtered) AS filtered,
    COUNT(own.mean_score) AS rated,
    SUM(own.mean_score) AS rating, {outcome_of_runs}
FROM {stale_runs} {its_sources}
WHERE run.status = 'complete'
GROUP BY stale.day, own.source
""",
    "options": """
SELECT day, decision_type, what, COUNT(*) AS runs, {outcome_of_runs}
FROM (
    SELECT stale.day, own.decision_type, own.what, run.quality_gate_passed, run.overall_quality_score
    FROM {stale_runs} {its_decisions}
    WHERE run.status = 'complete'
    GROUP BY
        stale.day, run.trace_id, run.quality_gate_passed, run.overall_quality_score, own.decision_type, own.what
) AS taken
GROUP BY day, decision_type, what
""",
    "components": """
SELECT
    day, component, decision_type,
    COUNT(*) AS runs,
    SUM(decisions) AS decisions,
    SUM(confident) AS confident,
    SUM(confidence) AS confidence, {outcome_of_runs}
FROM (
    SELECT
        stale.day, own.component, own.decision_type, run.quality_gate_passed, run.overall_quality_score,
        COUNT(*) AS decisions, COUNT(own.confidence) AS confident, SUM(own.confidence) AS confidence
    FROM {stale_runs} {its_decisions}
    WHERE run.status = 'complete'
    GROUP BY
        stale.day, run.trace_id, run.quality_gate_passed, run.overall_quality_score, own.component, own.decision_type
) AS taken
GROUP BY day, component, decision_type
""",
    "effects": """
SELECT day, decision_type, what, again, {by_key}(principle_id, {array}(runs, failed, total)) AS scores
FROM (
    SELECT
        day, decision_type, what, again, principle_id,
        SUM(weight) AS runs, COALESCE(SUM(weight) FILTER (WHERE score < 2), 0) AS failed, SUM(weight * score) AS total
    FROM (
        SELECT stale.day, run.trace_id, own.decision_type, own.what, {false} AS again, 1 AS weight
        FROM {stale_runs} {its_decisions}
        GROUP BY stale.day, run.trace_id, own.decision_type, own.what
        UNION ALL
        SELECT day, trace_id, decision_type, NULL, {true}, COUNT(*) - 1
        FROM (
            SELECT stale.day, run.trace_id, own.decision_type, own.what
            FROM {stale_runs} {its_decisions}
            GROUP BY stale.day, run.trace_id, own.decision_type, own.what
        ) AS options
        GROUP BY day, trace_id, decision_type
        HAVING COUNT(*) > 1
    ) AS taken
    JOIN {judged} ON judged.trace_id = taken.trace_id
    WHERE judged.status = 'complete' AND judged.score IS NOT NULL
    GROUP BY day, decision_type, what, again, principle_id
) AS effects
GROUP BY day, decision_type, what, again
""",
}
"""What trace_daily_<name> is to hold, of the stale days, made from their runs: trace_stale_<name>."""
