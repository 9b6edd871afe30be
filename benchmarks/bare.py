"""Bare OpenTelemetry: the same content in spans and events of one's own, which no processor keeps. The floor."""

import json

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Span, Tracer

from benchmarks import reference


def record(tracer: Tracer) -> None:
    """Record the reference run with the calls that OpenTelemetry offers."""
    with tracer.start_as_current_span("research_run market_research") as run:
        run.set_attribute("research.project", reference.PROJECT)
        run.set_attribute("research.query", reference.QUERY)
        run.set_attribute("research.report_type", reference.REPORT_TYPE)
        for stage in reference.STAGES:
            with tracer.start_as_current_span(stage.name) as span:
                _record_stage(span, stage)
        run.set_attribute("research.intent", reference.INTENT)
        run.set_attribute("research.outputs", json.dumps(reference.OUTPUTS))
        run.set_attribute("research.status", "complete")


def _record_stage(span: Span, stage: reference.Stage) -> None:
    span.set_attribute("stage.component", stage.component)
    for decision in stage.decisions:
        span.add_event(
            "decision",
            {
                "decision.type": decision.kind,
                "decision.what": decision.what,
                "decision.why": decision.why,
                "decision.confidence": decision.confidence,
                "decision.component": stage.component,
                "decision.alternatives": decision.alternatives,
                "decision.inputs": decision.inputs,
            },
        )
    for score in stage.scores:
        span.add_event(
            "score",
            {
                "score.principle": score.principle,
                "score.name": score.name,
                "score.value": score.score,
                "score.feedback": score.feedback,
            },
        )
    for name, text in stage.prompts.items():
        span.set_attribute(f"stage.prompt.{name}", text)
    if stage.evidence:
        span.set_attribute("stage.evidence", json.dumps(stage.evidence))
    span.set_attribute("stage.outputs", json.dumps(stage.outputs))


class Bare:
    """Bare OpenTelemetry with a processor that does nothing."""

    def __init__(self) -> None:
        provider = TracerProvider()
        provider.add_span_processor(SpanProcessor())
        self._tracer = provider.get_tracer("benchmark")

    def record(self) -> None:
        """Record the reference run; nothing keeps it."""
        record(self._tracer)

    def settle(self) -> None:
        """Nothing is pending."""

    def clean(self) -> None:
        """Nothing was written."""

    def close(self) -> None:
        """Nothing can be lost that was never kept."""
