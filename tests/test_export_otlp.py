"""A document back to OTLP, and from there again: the same document but for what it cannot say."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from ire_otel import reader
from ire_otel.assembly import assemble, encode
from ire_otel.document_spans import spans_of
from ire_otel.model import TraceDocument
from ire_otel.records import SpanRecord
from ire_otel_exporters import otlp_json
from ire_otel_exporters.otlp import from_otlp_json
from tests.run_records import RUN_ID
from tests.sample_run import sample_run
from tests.test_assembly_properties import runs

GOLDEN = Path(__file__).parent / "golden"


def again(made: TraceDocument) -> TraceDocument:
    """Export, import, assemble."""
    records = from_otlp_json(otlp_json.line(spans_of(made)))
    return reader.decode(encode(assemble(records, run_id=made.trace_id, source="otlp")), "test")


def said(made: TraceDocument) -> Any:
    """All of a document but what does not come back (docs/exporters.md lists it)."""
    content = msgspec.to_builtins(made)
    for name in ("generator", "records", "source", "llm_calls"):
        content["metadata"].pop(name, None)
    for stage in content["stages"].values():
        for attempt in (stage, *stage.get("attempts", ())):
            attempt.pop("llm_calls", None)
            usage = attempt.get("token_usage") or {}
            for share in ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens"):
                usage.pop(share, None)
    return content


@pytest.mark.parametrize("name", ["sample-v1.json"])
def test_the_golden_sample_comes_back(name: str) -> None:
    """Order of stages and decisions included."""
    made = reader.decode((GOLDEN / name).read_bytes(), name)
    assert said(again(made)) == said(made)
    assert list(again(made).stages) == list(made.stages)


def test_a_whole_run_comes_back_through_the_same_names() -> None:
    """Its spans are named as the run's own were."""
    made = reader.decode(encode(assemble(sample_run())), "test")
    assert said(again(made)) == said(made)
    assert {span.name for span in spans_of(made)} >= {"intake", "rubric", "collection", "synthesis", "quality_gate"}


@settings(max_examples=150, deadline=None)
@given(runs())
def test_any_document_comes_back(spans: list[SpanRecord]) -> None:
    """Parallel, repeated, nested and unstarted stages; odd values; no run span."""
    made = reader.decode(encode(assemble(spans, run_id=RUN_ID)), "test")
    assert said(again(made)) == said(made)
