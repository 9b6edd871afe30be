"""Bare OpenTelemetry: the same content in spans and events of one's own, which no processor keeps. The floor."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.trace import Span, Tracer

from benchmarks import reference
from benchmarks.contenders import Contender

TITLE: Final = "bare OTel"
PACKAGES: Final = ("opentelemetry-sdk",)
UNLIMITED: Final = SpanLimits(max_events=SpanLimits.UNSET, max_attributes=SpanLimits.UNSET)
"""By default a span keeps its last 128 events, and drops decisions without a word."""


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


def record_decisions(tracer: Tracer, decisions: Iterable[reference.Decision]) -> None:
    """Record a run with one stage."""
    with tracer.start_as_current_span("research_run"), tracer.start_as_current_span("collection") as span:
        for decision in decisions:
            _decide(span, "ResearchOrchestrator", decision)


def _record_stage(span: Span, stage: reference.Stage) -> None:
    span.set_attribute("stage.component", stage.component)
    for decision in stage.decisions:
        _decide(span, stage.component, decision)
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


def _decide(span: Span, component: str, decision: reference.Decision) -> None:
    span.add_event(
        "decision",
        {
            "decision.type": decision.kind,
            "decision.what": decision.what,
            "decision.why": decision.why,
            "decision.confidence": decision.confidence,
            "decision.component": component,
            "decision.alternatives": decision.alternatives,
            "decision.inputs": decision.inputs,
        },
    )


class Bare(Contender):
    """Bare OpenTelemetry with a processor that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        provider = TracerProvider(span_limits=UNLIMITED)
        provider.add_span_processor(SpanProcessor())
        self._tracer = provider.get_tracer("benchmark")

    def reference_run(self) -> None:
        """Record the reference run; nothing keeps it."""
        record(self._tracer)

    def decisions_run(self, decisions: Iterable[reference.Decision]) -> None:
        """Record a run with one stage."""
        record_decisions(self._tracer, decisions)

    def settle(self) -> None:
        """Nothing is pending."""

    def spans(self, decisions: int | None) -> int:  # noqa: ARG002 # nothing is to be kept
        """Nothing can be lost that was never kept."""
        return 0

    def stop(self) -> int:
        """Nothing has arrived."""
        return 0


def make(sink: str, folder: Path) -> Contender:  # noqa: ARG001 # as all contenders are made
    """Make it; it needs neither sink nor folder."""
    return Bare()
