"""A run that says every planted secret wherever one can say something; for a process of its own."""

import json
from collections.abc import Sequence
from contextlib import suppress

from opentelemetry import trace as otel
from opentelemetry.trace import Link, SpanContext, TraceFlags

import ire_otel
from tests.planted_secrets import PLANTED


def leak(exporters: Sequence[str]) -> None:
    """Trace one run with all secrets in everything that it records."""
    ire_otel.configure(exporters=list(exporters))
    texts = [planted.text for planted in PLANTED]
    everything = "\n".join(texts)
    nested = {"texts": texts, "raw": json.dumps({text: json.dumps(text) for text in texts})}
    with ire_otel.run(query=everything, project_name="leaky", report_type=texts[0]) as trace:
        trace.intent = texts[1]
        with ire_otel.stage("collection") as stage:
            stage.decide("chose", what=texts, why=everything, alternatives=texts, inputs=nested)
            stage.evidence(kept=[{"url": text, "title": text, "source": text} for text in texts])
            stage.score("META-1", 1, name=texts[2], feedback=everything)
            stage.set_outputs(nested)
            _foreign_span(texts)
        trace.record_prompts("synthesis", {"system_prompt": everything, "user_message": json.dumps(nested)})
        trace.record_iteration({"iteration": 1, "quality_gate_result": "FAIL", "reason": everything})
        trace.record("rubric", texts[3], {"what": nested, "why": everything})
        trace.set_outputs({"report": everything})
        trace.mark_failed(everything)
    assert ire_otel.flush(60)
    ire_otel.shutdown(60)


def _foreign_span(texts: Sequence[str]) -> None:
    """What an instrumentation may record."""
    tracer = otel.get_tracer("model.client")
    link = Link(SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(1)), {"said": texts})
    everything = "\n".join(texts)
    with suppress(RuntimeError), tracer.start_as_current_span(f"call {texts[0]}", links=[link]) as span:
        span.set_attribute("gen_ai.operation.name", "chat")
        span.set_attribute("gen_ai.input.messages", json.dumps([{"role": "user", "content": everything}]))
        span.set_attribute("list", list(texts))
        span.set_attribute(f"key {texts[0]}", 1)
        span.add_event(f"event {texts[0]}", {"texts": list(texts)})
        raise RuntimeError(everything)
