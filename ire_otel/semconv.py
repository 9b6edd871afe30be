"""Attribute and event names of ire-otel, each written once; docs/semantic-conventions.md explains them."""

from typing import Final

SCOPE: Final = "ire_otel"
"""Instrumentation scope of every span that ire-otel makes."""
SCHEMA_VERSION: Final = 1
"""Version of the trace document, and of these conventions (`ire.schema_version`)."""

# Run span
RUN_SPAN: Final = "research_run"
RUN_ID: Final = "ire.run.id"
"""The run's trace_id; also stamped on every foreign span that starts inside the run."""
PROJECT_ID: Final = "ire.project.id"
PROJECT_NAME: Final = "ire.project.name"
RUN_QUERY: Final = "ire.run.query"
RUN_INTENT: Final = "ire.run.intent"
RUN_DOMAIN: Final = "ire.run.domain"
RUN_REPORT_TYPE: Final = "ire.run.report_type"
RUN_RESEARCH_TYPE: Final = "ire.run.research_type"
RUN_STATUS: Final = "ire.run.status"
RUN_ERROR: Final = "ire.run.error"
RUN_OUTPUTS: Final = "ire.run.outputs"
RUN_PARENT_ID: Final = "ire.run.parent_id"
RUN_OUTPUT_TYPE: Final = "ire.run.output_type"
RUN_OVERHEAD_MS: Final = "ire.run.overhead_ms"
RUN_FOREIGN_SPANS: Final = "ire.run.foreign_spans"
"""`sampled` where a sampler of the application may have kept spans of others out of the run."""
RUN_RECOVERED: Final = "ire.run.recovered"
"""True where the run was read from the journal of a process that died."""
SCHEMA: Final = "ire.schema_version"
PROCESS: Final = "ire.process"
"""Id of the process that recorded a span."""

# Stage span
STAGE_NAME: Final = "ire.stage.name"
STAGE_ATTEMPT: Final = "ire.stage.attempt"
STAGE_COMPONENT: Final = "ire.stage.component"
STAGE_SPAN_ID: Final = "ire.stage.span_id"
"""Stamped on foreign spans: the span id of the stage that was current when they started."""
STAGE_OUTPUTS: Final = "ire.stage.outputs"
STAGE_EVIDENCE: Final = "ire.stage.evidence"
STAGE_ERROR: Final = "ire.stage.error"
STAGE_PROMPT_PREFIX: Final = "ire.stage.prompt."
STAGE_MODEL: Final = "ire.stage.model"
STAGE_INPUT_TOKENS: Final = "ire.stage.usage.input_tokens"
STAGE_OUTPUT_TOKENS: Final = "ire.stage.usage.output_tokens"
STAGE_TOTAL_TOKENS: Final = "ire.stage.usage.total_tokens"
STAGE_COST_USD: Final = "ire.stage.cost_usd"
EVIDENCE_COLLECTED: Final = "ire.evidence.collected"
EVIDENCE_FILTERED: Final = "ire.evidence.filtered"
EVIDENCE_KEPT: Final = "ire.evidence.kept"
GATE_PASSED: Final = "ire.gate.passed"
GATE_OVERALL_SCORE: Final = "ire.gate.overall_score"
GATE_THRESHOLD: Final = "ire.gate.threshold"
GATE_GAPS: Final = "ire.gate.gaps"
SCORE_PREFIX: Final = "ire.score."

# Decision event
DECISION_EVENT_PREFIX: Final = "decision: "
DECISION_TYPE: Final = "ire.decision.type"
DECISION_COMPONENT: Final = "ire.decision.component"
DECISION_CONFIDENCE: Final = "ire.decision.confidence"
DECISION_WHAT: Final = "ire.decision.what"
DECISION_WHY: Final = "ire.decision.why"
GIVEN_ALTERNATIVES: Final = "ire.given.alternatives"
GIVEN_INPUTS: Final = "ire.given.inputs"
SEQ: Final = "ire.seq"
"""Counts up over all events that one process records; breaks ties in time."""
WARNING: Final = "ire.warning"
"""On an event: what was wrong with the call that recorded it."""

# Principle score event (the name and `gen_ai.*` keys are those of the GenAI conventions)
SCORE_EVENT: Final = "gen_ai.evaluation.result"
SCORE_ID: Final = "gen_ai.evaluation.name"
SCORE_VALUE: Final = "gen_ai.evaluation.score.value"
SCORE_LABEL: Final = "gen_ai.evaluation.score.label"
SCORE_EXPLANATION: Final = "gen_ai.evaluation.explanation"
PRINCIPLE_NAME: Final = "ire.principle.name"

# Other events on the run span
ITERATION: Final = "ire.iteration"
"""JSON object: the fields of one iteration as the pipeline reported them."""
CHILD_ID: Final = "ire.child.trace_id"
CHILD_OUTPUT_TYPE: Final = "ire.child.output_type"
CHILD_PATH: Final = "ire.child.path"
STAGE_FACTS_EVENT_PREFIX: Final = "stage: "
"""A stage that is not open has its facts (`ire.stage.*`, `ire.evidence.*`, `ire.gate.*`) in a run span's event."""
RUN_FACTS_EVENT: Final = "run: facts"
"""Facts of the run (`ire.run.*`) that another process than the run's own learnt."""

# Across processes, as baggage
BAGGAGE_RUN: Final = "ire.run"
BAGGAGE_STAGE: Final = "ire.stage"

NAME_LENGTH: Final = 100
"""Longest span or event name, in characters; the full value is an attribute."""

GAP_BELOW: Final = 2
"""A principle score below this is a gap."""
STRENGTH_AT: Final = 3
"""A principle score from this on is a strength."""
