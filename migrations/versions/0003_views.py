"""The views: what runs look like by intent, principle, decision, source, week. Same columns on both databases.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

from ire_otel.db import access

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
created = "20261123100200"


def upgrade() -> None:
    """Make the views, each with the rights of whoever asks it."""
    on_postgresql = op.get_context().dialect.name == "postgresql"
    words = {"outcome": OUTCOME.strip(), **(ON_POSTGRESQL if on_postgresql else ON_SQLITE)}
    # Else a view has the rights of its owner, whom row level security lets pass. A later CREATE OR REPLACE forgets it.
    options = " WITH (security_invoker = on)" if on_postgresql else ""
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name}{options} AS {query.format(**words)}")
    if on_postgresql:
        op.execute(access.block(*VIEWS))


def downgrade() -> None:
    """Remove them."""
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")


ON_POSTGRESQL = {
    "number_of_gaps": "array_length(gap_principles, 1)",
    "week": "CAST(date_trunc('week', started_at AT TIME ZONE 'UTC') AS DATE)",
    "p50": "percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_seconds)",
    "p95": "percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_seconds)",
}
# SQLite has no percentiles: the value at a place between two of the sorted ones is both, weighted by nearness.
ON_SQLITE = {
    "number_of_gaps": "json_array_length(gap_principles)",
    "week": "date(started_at, 'weekday 0', '-6 days')",
    "p50": "SUM(duration_seconds * MAX(0.0, 1.0 - ABS(place - 0.5 * last_place)))",
    "p95": "SUM(duration_seconds * MAX(0.0, 1.0 - ABS(place - 0.95 * last_place)))",
}
OUTCOME = """
    COUNT(*) FILTER (WHERE quality_gate_passed) AS passed,
    COUNT(*) FILTER (WHERE NOT quality_gate_passed) AS failed,
    CAST(COUNT(*) FILTER (WHERE quality_gate_passed) AS FLOAT) / NULLIF(COUNT(quality_gate_passed), 0) AS pass_rate,
    AVG(overall_quality_score) AS avg_quality
"""
VIEWS = {
    "trace_quality_gaps": """
SELECT
    trace_id, project_id, intent, domain, report_type, overall_quality_score, quality_gate_passed,
    gap_principles, principle_scores, started_at, project_name
FROM traces
WHERE status = 'complete' AND {number_of_gaps} > 0
ORDER BY started_at DESC
""",
    "trace_intent_summary": """
SELECT
    intent,
    COUNT(*) AS total_runs,
    COUNT(*) FILTER (WHERE quality_gate_passed) AS passed,
    COUNT(*) FILTER (WHERE NOT quality_gate_passed) AS failed,
    AVG(overall_quality_score) AS avg_quality,
    AVG(duration_seconds) AS avg_duration,
    AVG(synthesis_cost_usd) AS avg_cost
FROM traces
WHERE status = 'complete'
GROUP BY intent
ORDER BY total_runs DESC
""",
    "trace_domain_summary": """
SELECT
    domain,
    COUNT(*) AS total_runs,
    COUNT(*) FILTER (WHERE quality_gate_passed) AS passed,
    COUNT(*) FILTER (WHERE NOT quality_gate_passed) AS failed,
    AVG(overall_quality_score) AS avg_quality,
    AVG(duration_seconds) AS avg_duration,
    AVG(synthesis_cost_usd) AS avg_cost
FROM traces
WHERE status = 'complete'
GROUP BY domain
ORDER BY total_runs DESC
""",
    "trace_principle_summary": """
SELECT
    principle_id,
    intent,
    report_type,
    COUNT(*) AS runs,
    AVG(score) AS avg_score,
    COUNT(*) FILTER (WHERE score < 2) AS below_threshold,
    CAST(COUNT(*) FILTER (WHERE score < 2) AS FLOAT) / COUNT(*) AS share_below_threshold
FROM trace_principle_scores
WHERE status = 'complete' AND score IS NOT NULL
GROUP BY principle_id, intent, report_type
ORDER BY share_below_threshold DESC
""",
    "trace_gate_failures": """
SELECT
    trace_id, project_name, query, intent, domain, report_type, overall_quality_score, gap_principles,
    iteration_count, quality_gate_failures, started_at, trace_file_path, report_file_path
FROM traces
WHERE status = 'complete' AND quality_gate_passed = FALSE
ORDER BY started_at DESC
""",
    "trace_weekly_quality": """
SELECT
    {week} AS week,
    COUNT(*) AS runs,
    {outcome},
    AVG(cost_usd) AS avg_cost
FROM traces
WHERE status = 'complete'
GROUP BY {week}
ORDER BY week DESC
""",
    "trace_stage_timing": """
SELECT
    stage,
    COUNT(DISTINCT trace_id) AS runs,
    COUNT(*) AS attempts,
    AVG(duration_seconds) AS avg_duration,
    {p50} AS p50,
    {p95} AS p95,
    MAX(duration_seconds) AS longest
FROM (
    SELECT
        trace_id,
        stage,
        trace_stages.duration_seconds,
        ROW_NUMBER() OVER (PARTITION BY stage ORDER BY trace_stages.duration_seconds) - 1 AS place,
        COUNT(*) OVER (PARTITION BY stage) - 1 AS last_place
    FROM trace_stages JOIN traces USING (trace_id)
    WHERE status = 'complete' AND trace_stages.duration_seconds IS NOT NULL
) AS attempts
GROUP BY stage
ORDER BY p50 DESC
""",
    "trace_cost_summary": """
SELECT
    {week} AS week,
    model,
    intent,
    COUNT(*) AS runs,
    SUM(calls) AS calls,
    SUM(trace_model_usage.input_tokens) AS input_tokens,
    SUM(trace_model_usage.output_tokens) AS output_tokens,
    SUM(trace_model_usage.cost_usd) AS cost_usd
FROM trace_model_usage JOIN traces USING (trace_id)
GROUP BY {week}, model, intent
ORDER BY week DESC, cost_usd DESC
""",
    "trace_decision_outcomes": """
SELECT
    decision_type,
    what,
    COUNT(*) AS runs,
    {outcome}
FROM (SELECT DISTINCT trace_id, decision_type, what FROM trace_decisions) AS decided JOIN traces USING (trace_id)
WHERE status = 'complete'
GROUP BY decision_type, what
ORDER BY runs DESC
""",
    "trace_component_outcomes": """
SELECT
    component,
    decision_type,
    COUNT(*) AS runs,
    CAST(SUM(decisions) AS BIGINT) AS decisions,
    SUM(confidences) / NULLIF(SUM(confident), 0) AS avg_confidence,
    {outcome}
FROM (
    SELECT
        trace_id,
        component,
        decision_type,
        COUNT(*) AS decisions,
        SUM(confidence) AS confidences,
        COUNT(confidence) AS confident
    FROM trace_decisions
    GROUP BY trace_id, component, decision_type
) AS decided JOIN traces USING (trace_id)
WHERE status = 'complete'
GROUP BY component, decision_type
ORDER BY runs DESC
""",
    "trace_source_outcomes": """
SELECT
    source,
    COUNT(*) AS runs,
    SUM(collected) AS collected,
    SUM(kept) AS kept,
    SUM(filtered) AS filtered,
    AVG(mean_score) AS avg_evidence_score,
    {outcome}
FROM trace_sources JOIN traces USING (trace_id)
WHERE status = 'complete'
GROUP BY source
ORDER BY runs DESC
""",
}
