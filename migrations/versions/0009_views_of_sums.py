"""Views that read the sums of days that have not changed since, and the runs of all others.

Revision ID: 0009
Revises: 0008
"""

from types import ModuleType

from alembic import context, op

from ire_otel.db import access

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
created = "20261125140200"


def upgrade() -> None:
    """Replace the views by others with the same columns."""
    daily = _module("0008").DAILY
    words = SHARED | (ON_POSTGRESQL if _on_postgresql() else ON_SQLITE)
    words |= {
        f"daily_{name}": DAY_BY_DAY.format(name=name, columns=", ".join(("day", *columns)))
        for name, columns in daily.items()
    }
    for name, query in VIEWS.items():
        _replace_view(name, query.format(**words))
    if _on_postgresql():
        op.execute(access.block(*VIEWS))


def downgrade() -> None:
    """Let the views read the runs again."""
    before = _module("0003")
    words = {"outcome": before.OUTCOME.strip()} | (before.ON_POSTGRESQL if _on_postgresql() else before.ON_SQLITE)
    for name in VIEWS:
        _replace_view(name, before.VIEWS[name].format(**words))


def _module(revision: str) -> ModuleType:
    """Give another migration of this folder."""
    found = context.script.get_revision(revision)
    assert found is not None  # noqa: S101 # it is in this folder
    return found.module


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _replace_view(name: str, query: str) -> None:
    if _on_postgresql():
        # Else a view has the rights of its owner, whom row level security lets pass.
        op.execute(f"CREATE OR REPLACE VIEW {name} WITH (security_invoker = on) AS {query}")
    else:
        op.execute(f"DROP VIEW {name}")
        op.execute(f"CREATE VIEW {name} AS {query}")


ON_POSTGRESQL = {
    "week": "CAST(date_trunc('week', CAST(day AS TIMESTAMP)) AS DATE)",
    "greatest": "GREATEST",
    "least": "LEAST",
}
ON_SQLITE = {"week": "date(day, 'weekday 0', '-6 days')", "greatest": "MAX", "least": "MIN"}
SHARED = {
    "outcome": """
    CAST(SUM(passed) AS BIGINT) AS passed,
    CAST(SUM(failed) AS BIGINT) AS failed,
    CAST(SUM(passed) AS FLOAT) / NULLIF(SUM(passed) + SUM(failed), 0) AS pass_rate,
    SUM(quality) / CAST(NULLIF(SUM(scored), 0) AS FLOAT) AS avg_quality""",
    "means": """
    CAST(SUM(runs) AS BIGINT) AS total_runs,
    CAST(SUM(passed) AS BIGINT) AS passed,
    CAST(SUM(failed) AS BIGINT) AS failed,
    SUM(quality) / CAST(NULLIF(SUM(scored), 0) AS FLOAT) AS avg_quality,
    SUM(duration) / CAST(NULLIF(SUM(timed), 0) AS FLOAT) AS avg_duration,
    SUM(synthesis_cost) / CAST(NULLIF(SUM(synthesis_costed), 0) AS FLOAT) AS avg_cost""",
}
DAY_BY_DAY = """(
    SELECT {columns} FROM trace_daily_{name} WHERE day NOT IN (SELECT day FROM trace_stale_days)
    UNION ALL
    SELECT {columns} FROM trace_stale_{name}
) AS daily_{name}"""
EXACT = 100_000
"""Attempts up to which the percentiles of their durations are exact; of more they are those of rounded ones."""
VIEWS = {
    "trace_intent_summary": """
SELECT intent, {means}
FROM {daily_runs}
WHERE status = 'complete'
GROUP BY intent
ORDER BY total_runs DESC
""",
    "trace_domain_summary": """
SELECT domain, {means}
FROM {daily_runs}
WHERE status = 'complete'
GROUP BY domain
ORDER BY total_runs DESC
""",
    "trace_principle_summary": """
SELECT
    principle_id,
    intent,
    report_type,
    CAST(SUM(scored) AS BIGINT) AS runs,
    SUM(score) / CAST(SUM(scored) AS FLOAT) AS avg_score,
    CAST(SUM(below) AS BIGINT) AS below_threshold,
    CAST(SUM(below) AS FLOAT) / SUM(scored) AS share_below_threshold
FROM {daily_principles}
WHERE scored > 0
GROUP BY principle_id, intent, report_type
ORDER BY share_below_threshold DESC
""",
    "trace_weekly_quality": """
SELECT
    {week} AS week,
    CAST(SUM(runs) AS BIGINT) AS runs, {outcome},
    SUM(cost) / CAST(NULLIF(SUM(costed), 0) AS FLOAT) AS avg_cost
FROM {daily_runs}
WHERE status = 'complete'
GROUP BY {week}
ORDER BY week DESC
""",
    # In the order of their durations, attempts have places; the percentile's place may lie between two of them, which
    # then count by how near they are to it. The limit takes nothing away, but tells the planner that this is not much.
    "trace_stage_timing": f"""
WITH
stages AS (
    SELECT
        stage,
        CAST(SUM(runs) AS BIGINT) AS runs,
        CAST(SUM(attempts) AS BIGINT) AS attempts,
        SUM(duration) / CAST(SUM(attempts) AS FLOAT) AS avg_duration,
        MAX(longest) AS longest
    FROM {{daily_stages}}
    GROUP BY stage
),
durations AS (
    SELECT stage, seconds, 1 AS attempts
    FROM (
        SELECT own.stage, own.duration_seconds AS seconds
        FROM trace_stages AS own JOIN traces USING (trace_id)
        WHERE (SELECT SUM(attempts) FROM stages) <= {EXACT}
            AND traces.status = 'complete' AND own.duration_seconds IS NOT NULL
        LIMIT {EXACT}
    ) AS each
    UNION ALL
    SELECT stage, seconds, attempts FROM {{daily_durations}}
    WHERE (SELECT SUM(attempts) FROM stages) > {EXACT}
),
places AS (
    SELECT
        stage,
        seconds,
        CAST(SUM(SUM(attempts)) OVER (PARTITION BY stage ORDER BY seconds) - SUM(attempts) AS FLOAT) AS before,
        CAST(SUM(attempts) AS FLOAT) AS attempts,
        CAST(SUM(SUM(attempts)) OVER (PARTITION BY stage) - 1 AS FLOAT) AS last_place
    FROM durations
    GROUP BY stage, seconds
),
percentiles AS (
    SELECT
        stage,
        {
        ", ".join(
            f'''SUM(seconds * (
            {{least}}(1.0, {{greatest}}(0.0, before + attempts - {share} * last_place))
            - {{least}}(1.0, {{greatest}}(0.0, before - {share} * last_place))
        )) AS {name}'''
            for name, share in (("p50", 0.5), ("p95", 0.95))
        )
    }
    FROM places
    GROUP BY stage
)
SELECT stage, runs, attempts, avg_duration, p50, p95, longest
FROM stages JOIN percentiles USING (stage)
ORDER BY p50 DESC
""",  # noqa: S608 # of this file
    "trace_cost_summary": """
SELECT
    {week} AS week,
    model,
    intent,
    CAST(SUM(runs) AS BIGINT) AS runs,
    CAST(SUM(calls) AS BIGINT) AS calls,
    CAST(SUM(input_tokens) AS BIGINT) AS input_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    SUM(cost_usd) AS cost_usd
FROM {daily_usage}
GROUP BY {week}, model, intent
ORDER BY week DESC, cost_usd DESC
""",
    "trace_decision_outcomes": """
SELECT decision_type, what, CAST(SUM(runs) AS BIGINT) AS runs, {outcome}
FROM {daily_options}
GROUP BY decision_type, what
ORDER BY runs DESC
""",
    "trace_component_outcomes": """
SELECT
    component,
    decision_type,
    CAST(SUM(runs) AS BIGINT) AS runs,
    CAST(SUM(decisions) AS BIGINT) AS decisions,
    SUM(confidence) / CAST(NULLIF(SUM(confident), 0) AS FLOAT) AS avg_confidence, {outcome}
FROM {daily_components}
GROUP BY component, decision_type
ORDER BY runs DESC
""",
    "trace_source_outcomes": """
SELECT
    source,
    CAST(SUM(runs) AS BIGINT) AS runs,
    CAST(SUM(collected) AS BIGINT) AS collected,
    CAST(SUM(kept) AS BIGINT) AS kept,
    CAST(SUM(filtered) AS BIGINT) AS filtered,
    SUM(rating) / CAST(NULLIF(SUM(rated), 0) AS FLOAT) AS avg_evidence_score, {outcome}
FROM {daily_sources}
GROUP BY source
ORDER BY runs DESC
""",
}
