"""Traces without a run of ire-otel as runs: useful without configuration, and as a mapping says with one."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ire_otel import reader, semconv
from ire_otel.assembly import assemble, encode
from ire_otel.foreign_runs import RunMapping, is_one, mapped
from ire_otel.model import TraceDocument
from ire_otel.records import SpanRecord
from ire_otel_exporters import otlp_json
from tests.agent_traces import genai_trace, openinference_trace, span
from tests.runs import documents
from tests.sample_run import sample_run
from tests.test_cli import ire_otel


def document(records: list[SpanRecord], mapping: RunMapping | None = None) -> TraceDocument:
    made = assemble(mapped(records, mapping or RunMapping()), source="otlp")
    return reader.decode(encode(made), "test")


def test_a_genai_agent_is_a_useful_document_without_configuration() -> None:
    """The root is the run, agents are its stages, the calls are where they were made."""
    made = document(genai_trace())
    assert made.trace_id == "trc_20260213_" + made.metadata.otel_trace_id[16:]
    assert (made.project_name, made.run.query, made.run.status) == ("agents", "Which cobot?", "complete")
    assert list(made.stages) == ["lead", "writer"]
    assert made.stages["writer"].enclosing_stage == "lead"
    assert getattr(made.stages["writer"].llm_calls, "calls", 0) == 1
    assert made.stages["writer"].model == "gpt-4o-2024-08-06"
    assert getattr(made.metadata.llm_calls, "calls", 0) == 2
    assert made.run.duration_seconds == 20
    assert made.metadata.warnings == []


def test_an_openinference_chain_is_a_useful_document_without_configuration() -> None:
    """Its direct steps are stages, run twice where they ran twice; inputs and outputs are taken."""
    made = document(openinference_trace())
    assert (made.run.query, made.outputs) == ("Which cobot?", {"output": "UR5e"})
    assert list(made.stages) == ["plan", "write"]
    plan = made.stages["plan"]
    assert isinstance(plan.attempts, list)
    assert [attempt.outputs for attempt in plan.attempts] == [{"steps": 2}, {}]


def test_a_mapping_says_stages_and_facts_by_name() -> None:
    """Names with `*`, and attributes for what the document says of the run."""
    records = openinference_trace()
    said = {**records[0].attributes, "app.kind": "market_research", "app.intent": "validating", "tenant": "cobot"}
    records[0] = msgspec.structs.replace(records[0], attributes=said)
    mapping = RunMapping(
        stages={"pl*": "intake", "write": "synthesis"},
        report_type=("app.kind",),
        intent=("app.intent",),
        project=("tenant",),
    )
    made = document(records, mapping)
    assert list(made.stages) == ["intake", "synthesis"]
    assert (made.project_name, made.run.report_type, made.run.intent) == ("cobot", "market_research", "validating")


def test_a_trace_whose_root_is_missing_says_so() -> None:
    """The earliest span stands for the run; the others stay inside it."""
    made = document(genai_trace()[1:])
    assert made.metadata.warnings == ["the trace's root is missing: its earliest span stands for the run"]
    assert made.trace_id == document(genai_trace()).trace_id, "so that the root, when it comes, makes no second run"
    assert getattr(made.metadata.llm_calls, "calls", 0) == 2


def test_a_trace_that_holds_a_run_stays_as_it_is() -> None:
    """Nothing to map."""
    assert mapped(sample_run()) == sample_run()
    assert mapped([]) == []


traces: list[Callable[[], list[SpanRecord]]] = [genai_trace, openinference_trace]


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from(traces))
def test_the_order_of_spans_does_not_matter(data: st.DataObject, trace: Callable[[], list[SpanRecord]]) -> None:
    """Any part of a trace, in any order: one run that holds every span, and the same bytes."""
    part = data.draw(st.lists(st.sampled_from(trace()), min_size=1, unique_by=lambda one: one.span_id))
    shuffled = data.draw(st.permutations(part))
    assert encode(document(part)) == encode(document(list(shuffled)))
    assert document(part).metadata.records == len(part)
    assert {record.attributes[semconv.RUN_ID] for record in mapped(part)} == {document(part).trace_id}


def test_import_takes_agent_traces_and_leaves_others(tmp_path: Path) -> None:
    """A web request without any model span is no run; a mapping file makes it one."""
    web = [msgspec.structs.replace(span(1, None, "GET /", 0, 1, kind="SERVER"), trace_id="a" * 32)]
    assert not is_one(web, RunMapping())
    (tmp_path / "spans.jsonl").write_bytes(otlp_json.line([*genai_trace(), *web]))
    done = ire_otel(tmp_path, "import", "spans.jsonl")
    assert (done.code, done.err) == (0, "")
    assert "8 spans, 1 runs (1 from traces without one), 1 traces without any; 0 problems" in done.out
    (tmp_path / "mapping.toml").write_text('query = ["q"]\n[stages]\n"GET*" = "web"', encoding="utf-8")
    done = ire_otel(tmp_path, "import", "spans.jsonl", "--mapping", "mapping.toml")
    assert "2 runs (2 from traces without one), 0 traces without any" in done.out
    assert {made.project_name for made in documents()} == {"agents"}
