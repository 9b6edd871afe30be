"""Assembly: SpanRecords to one trace document."""

from pathlib import Path

import msgspec
import pytest

from ire_otel import semconv, values
from ire_otel.assembly import assemble, encode, merge
from ire_otel.reader import decode
from ire_otel.records import SpanRecord
from tests.run_records import (
    RUN_ID,
    RUN_SPAN_ID,
    TRACE_ID,
    at,
    attributes,
    decision,
    document,
    event,
    run_span,
    stage,
    stage_span,
)
from tests.sample_run import sample_run

GOLDEN = Path(__file__).parent / "golden" / "sample-v1.json"


# The whole document


def test_the_sample_run_gives_the_golden_file() -> None:
    """Every field of the layout is where the golden file has it, byte for byte."""
    assembled = assemble(sample_run())
    metadata = msgspec.structs.replace(assembled.metadata, generator="ire-otel/0.1.0")
    assert encode(msgspec.structs.replace(assembled, metadata=metadata)) == GOLDEN.read_bytes()


def test_the_golden_file_reads_back_to_the_same_bytes() -> None:
    """Reading a document and writing it again changes nothing."""
    assert encode(decode(GOLDEN.read_bytes(), GOLDEN.name)) == GOLDEN.read_bytes()


def test_a_document_is_indented_json_with_a_final_newline() -> None:
    """People read the files: two spaces, UTF-8, NaN as null."""
    span = msgspec.structs.replace(run_span(run_query="Größe?"), resource={"load": float("nan")})
    written = encode(assemble([span]))
    assert written.startswith(b'{\n  "schema_version": 1,\n')
    assert written.endswith(b"}\n")
    assert '"query": "Größe?"'.encode() in written
    assert b'"load": null' in written


# Runs


def test_a_run_without_its_run_span_is_incomplete() -> None:
    """What was recorded before the run span was lost is not lost."""
    found = document(stage_span("intake", 1, 2, decision("d", 1.5), project_name="cobot"), run_id=RUN_ID)
    assert (found.trace_id, found.run.status, found.project_name) == (RUN_ID, "incomplete", "cobot")
    assert found.run.started_at == "2026-02-13T10:30:01.000000Z"
    assert found.metadata.otel_span_id == RUN_SPAN_ID
    assert found.metadata.warnings == ["the run span is missing: the run's own facts and status are unknown"]
    assert len(found.stages["intake"].decisions) == 1


@pytest.mark.parametrize(
    ("end", "said", "live", "status"),
    [
        (9, "complete", False, "complete"),
        (9, "failed", False, "failed"),
        (9, "in_progress", False, "incomplete"),
        (9, None, False, "complete"),
        (None, "in_progress", False, "incomplete"),
        (None, "in_progress", True, "in_progress"),
        (None, None, True, "in_progress"),
        (None, "complete", True, "complete"),
        (None, "failed", False, "failed"),
    ],
)
def test_status(end: float | None, said: str | None, live: bool, status: str) -> None:  # noqa: FBT001 # a parameter
    """The span's word counts once it ended; an open run is in progress only to those who watch it."""
    assert assemble([run_span(end=end, run_status=said)], live=live).run.status == status


def test_a_failed_run_names_its_error_in_its_outputs_too() -> None:
    """The pipeline's outputs stay; the error is added where they have none."""
    found = document(run_span(run_status="failed", run_error="no sources", run_outputs={"report_path": "r.md"}))
    assert found.run.error == "no sources"
    assert found.outputs == {"report_path": "r.md", "error": "no sources"}
    kept = document(run_span(run_status="failed", run_error="no sources", run_outputs={"error": "mine"}))
    assert kept.outputs == {"error": "mine"}


def test_an_exception_is_the_error_of_a_run_that_named_none() -> None:
    """The span's status description says what ended it."""
    span = msgspec.structs.replace(run_span(run_status=None), status="ERROR", status_description="ValueError: x")
    found = document(span)
    assert (found.run.status, found.run.error) == ("incomplete", "ValueError: x")


def test_the_run_takes_what_it_never_said_from_intake() -> None:
    """Outputs of intake first, then its decision on the intent; what the run said itself wins."""
    intake = stage_span(
        "intake",
        0,
        1,
        decision("classified_intent", 0.5, what="exploring"),
        stage_outputs={"domain": "robotics", "report_type": "roadmap"},
    )
    found = document(run_span(run_report_type="market_research"), intake).run
    assert (found.intent, found.domain, found.report_type) == ("exploring", "robotics", "market_research")


def test_child_runs_are_listed_and_not_repeated() -> None:
    """A child's decisions are in its own document, and the outermost run is the one assembled."""
    child = "trc_20260213_00000000000000c1"
    named = {"run_id": child, "run_parent_id": RUN_ID, "run_output_type": "report", "run_status": "complete"}
    child_run = msgspec.structs.replace(
        run_span(decision("inner", 4, seq=9), end=5, **named), span_id=child[-16:], parent_span_id=RUN_SPAN_ID
    )
    child_stage = stage_span("intake", 3, 4, decision("inner", 3.5))
    child_stage = msgspec.structs.replace(child_stage, attributes={**child_stage.attributes, semconv.RUN_ID: child})
    mention = event("child", 3, attributes(child_id=child, child_output_type="report", seq=1))
    later = event("child", 5, attributes(child_id=child, child_path="r.md", seq=2))
    records = [child_stage, run_span(mention, later), child_run]

    parent = document(*records)
    assert parent.trace_id == RUN_ID
    assert parent.stages == {}
    assert [(c.trace_id, c.output_type, c.path) for c in parent.child_traces] == [(child, "report", "r.md")]
    inner = document(*records, run_id=child)
    assert (inner.parent_trace_id, inner.output_type) == (RUN_ID, "report")
    assert {name: len(found.decisions) for name, found in inner.stages.items()} == {"intake": 1, "run": 1}


@pytest.mark.parametrize(
    ("records", "run_id", "message"),
    [([], None, "none of 0 spans carries ire.run.id"), ([run_span()], "trc_other", "no span of run trc_other")],
)
def test_no_run_is_an_error(records: list[SpanRecord], run_id: str | None, message: str) -> None:
    """There is no document without a run."""
    with pytest.raises(ValueError, match=message):
        assemble(records, run_id=run_id)


def test_iterations_count_their_failures() -> None:
    """Both the document's word (quality_gate_result) and the code's (passed) tell a failure."""
    said = [
        {"iteration": 1, "quality_gate_result": "fail: too vague"},
        {"passed": False},
        {"passed": True, "score": 1.50},
    ]
    events = [event("it", 10 + n, attributes(iteration=fields, seq=n)) for n, fields in enumerate(said)]
    found = document(run_span(*reversed(events)))
    assert found.iterations == said
    assert (found.iteration_count, found.quality_gate_failures) == (3, 2)


def test_without_iterations_the_gates_failed_attempts_count() -> None:
    """A loop that reports no iterations still shows how often the gate said no."""
    gates = [stage_span("quality_gate", n, n + 0.5, gate_passed=n == 3) for n in (1, 2, 3)]
    found = document(run_span(), *gates)
    assert (found.iteration_count, found.quality_gate_failures) == (1, 2)


def test_metadata_tells_what_the_document_was_made_from() -> None:
    """Records, resource, own drops and warnings; what foreign spans dropped is no lost decision."""
    llm = SpanRecord(
        trace_id=TRACE_ID,
        span_id="00000000000000aa",
        start_ns=at(2),
        attributes={semconv.RUN_ID: RUN_ID},
        events=(event("chunk", 2, {}),),
        dropped_events=500,
    )
    warned = decision("d", 1, seq=1)
    warned = msgspec.structs.replace(
        warned, attributes={**warned.attributes, semconv.WARNING: "no why"}, dropped_attributes=2
    )
    span = msgspec.structs.replace(run_span(warned, warned), dropped_links=1, resource={"b": "[1]", "a": 1})
    found = document(span, llm, source="otlp").metadata
    assert msgspec.to_builtins(found.dropped) == {"attributes": 4, "events": 0, "links": 1}
    assert found.warnings == ["no why"]
    assert list(found.resource.items()) == [("a", 1), ("b", [1])]
    assert (found.records, found.source) == (5, "otlp")


# Partial copies


def test_copies_of_a_span_are_united() -> None:
    """An ended copy beats an open one; every numbered event of any copy is there once."""
    events = [decision(str(seq), seq, seq=seq) for seq in (1, 2, 3)]
    early = stage_span("intake", 1, None, *events[:2], stage_model="m")
    late = stage_span("intake", 1, 4, *events[1:])
    (found,) = merge([late, early, late])
    assert found.end_ns == at(4)
    assert [values.decode(one.attributes[semconv.DECISION_TYPE]) for one in found.events] == ["1", "2", "3"]
    assert found.attributes[semconv.STAGE_MODEL] == "m"
    assert merge([early, late]) == [found]


def test_equal_numbers_of_different_processes_are_different_events() -> None:
    """A worker process counts for itself."""
    theirs = decision("b", 1.2, seq=1)
    theirs = msgspec.structs.replace(theirs, attributes={**theirs.attributes, semconv.PROCESS: "p2"})
    copies = [stage_span("s", 1, 2, one, process="p1") for one in (decision("a", 1.1, seq=1), theirs)]
    assert [d.decision for d in stage("s", *copies).decisions] == ["a", "b"]
