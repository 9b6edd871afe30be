"""Assembly: SpanRecords to one trace document."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ire_otel import semconv, values
from ire_otel.assembly import assemble, encode, merge
from ire_otel.model import Attempt, StageTrace, TraceDocument
from ire_otel.reader import decode
from ire_otel.records import SpanRecord
from tests.run_records import (
    RUN_ID,
    RUN_SPAN_ID,
    SECOND,
    START,
    TRACE_ID,
    at,
    attributes,
    decision,
    event,
    run_span,
    score,
    stage_span,
)
from tests.sample_run import sample_run

GOLDEN = Path(__file__).parent / "golden" / "sample-v1.json"


def document(*records: SpanRecord, **options: Any) -> TraceDocument:
    """Assemble, write and read back, so that everything inside is plain Python."""
    return decode(encode(assemble(records, **options)), "test")


def stage(name: str, *records: SpanRecord) -> StageTrace:
    """Give one stage of the document of a run with these records."""
    return document(run_span(), *records).stages[name]


def attempts(found: StageTrace) -> list[Attempt]:
    """Give the attempts of a stage that ran more than once."""
    assert isinstance(found.attempts, list)
    return found.attempts


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


# Stages and attempts


def test_stages_stand_in_the_order_of_their_start() -> None:
    """Also those that were never started but have decisions."""
    records = [
        run_span(decision("x", 5, stage="rubric"), decision("y", 0.5)),
        stage_span("collection", 7, 8),
        stage_span("intake", 1, 2),
    ]
    found = document(*records).stages
    assert list(found) == ["run", "intake", "rubric", "collection"]
    assert (found["rubric"].started_at, found["rubric"].duration_seconds) == (None, None)


def test_a_stage_that_ran_again_keeps_every_attempt() -> None:
    """Own fields are the last attempt's, decisions are everybody's, the duration is the union of the intervals."""
    found = stage(
        "synthesis",
        stage_span("synthesis", 10, 14, decision("b", 11, seq=2), span_id="00000000000000b2", stage_model="large"),
        stage_span("synthesis", 1, 3, decision("a", 2, seq=1), span_id="00000000000000b1", stage_model="small"),
        stage_span("synthesis", 12, 16, span_id="00000000000000b3", stage_outputs={"chars": 5}),
    )
    assert [(d.decision, d.attempt) for d in found.decisions] == [("a", 1), ("b", 2)]
    assert [attempt.attempt for attempt in attempts(found)] == [1, 2, 3]
    assert [attempt.duration_seconds for attempt in attempts(found)] == [2.0, 4.0, 4.0]
    assert found.outputs == {"chars": 5}
    assert found.model is msgspec.UNSET
    assert found.attempt is msgspec.UNSET
    assert found.duration_seconds == 8.0


def test_a_stage_that_ran_once_has_no_list_of_attempts() -> None:
    """The usual document stays small."""
    assert stage("intake", stage_span("intake", 1, 2)).attempts is msgspec.UNSET


def test_the_enclosing_stage_is_the_nearest_above_or_the_stamped_one() -> None:
    """Foreign spans between two stages do not hide it, and the stamp outranks a parent that a framework gave."""
    outer = stage_span("collection", 1, 9, span_id="00000000000000a1")
    between = SpanRecord(trace_id=TRACE_ID, span_id="00000000000000a2", parent_span_id=outer.span_id, start_ns=at(2))
    inner = stage_span("scoring", 3, 4, parent=between.span_id)
    moved = stage_span("moved", 3, 4, stage_span_id=outer.span_id)
    stages = document(run_span(), outer, between, inner, moved).stages
    assert stages["scoring"].enclosing_stage == "collection"
    assert stages["moved"].enclosing_stage == "collection"
    assert stages["collection"].enclosing_stage is msgspec.UNSET


def test_an_open_stage_has_no_end() -> None:
    """A stage that died with its process shows when it began, and nothing made up."""
    found = stage("intake", stage_span("intake", 1, None))
    assert (found.started_at, found.completed_at, found.duration_seconds) == ("2026-02-13T10:30:01.000000Z", None, None)


def test_times_are_whole_microseconds() -> None:
    """A trace that comes back from Jaeger, which keeps microseconds, gives the same times."""
    span = msgspec.structs.replace(stage_span("intake", 1, 2), start_ns=START + 1_999, end_ns=START + SECOND + 1_001)
    found = stage("intake", span)
    assert found.started_at == "2026-02-13T10:30:00.000001Z"
    assert found.duration_seconds == 1.0


def test_a_stages_error() -> None:
    """What the stage said, else what ended its span."""
    failed = msgspec.structs.replace(stage_span("a", 1, 2), status="ERROR", status_description="KeyError: 'x'")
    assert stage("a", failed).error == "KeyError: 'x'"
    assert stage("a", stage_span("a", 1, 2, stage_error="no luck")).error == "no luck"


# Decisions


def test_a_decision_keeps_everything_that_was_said() -> None:
    """And stays honest about what was not."""
    said = decision(
        "pick",
        1.5,
        what=["a", 1],
        why="[sic] because",
        confidence=1,
        alternatives=[{"b": None}],
        inputs={"z": 1, "a": 2.50},
        component="Picker",
    )
    found, bare = stage(
        "intake", stage_span("intake", 1, 2, said, event("d", 1.6, attributes(decision_type="bare")))
    ).decisions
    assert (found.what, found.why, found.confidence) == (["a", 1], "[sic] because", 1.0)
    assert (found.alternatives_considered, found.inputs) == ([{"b": None}], {"z": 1, "a": 2.5})
    assert (found.component, found.timestamp) == ("Picker", "2026-02-13T10:30:01.500000Z")
    assert (bare.what, bare.why, bare.confidence, bare.inputs, bare.component) == (None, "", None, {}, None)


@pytest.mark.parametrize("confidence", [float("nan"), float("inf"), True, "high"])
def test_a_confidence_that_is_no_finite_number_is_null(confidence: Any) -> None:
    """Nobody's statistics meet a NaN or a word."""
    odd = event("d", 1, {semconv.DECISION_TYPE: "x", semconv.DECISION_CONFIDENCE: confidence})
    assert document(run_span(odd)).stages["run"].decisions[0].confidence is None


def test_decisions_stand_in_the_order_of_time_then_sequence() -> None:
    """Whichever spans they sit on."""
    late = decision("late", 2, seq=4, stage="intake")
    span = stage_span(
        "intake", 1, 3, decision("third", 2, seq=3), decision("first", 1, seq=2), decision("second", 2, seq=1)
    )
    found = document(run_span(late), span).stages["intake"].decisions
    assert [d.decision for d in found] == ["first", "second", "third", "late"]


def test_a_decision_for_a_stage_that_is_not_open_goes_to_its_last_attempt_by_then() -> None:
    """Placed by name and time; before the first start it is the first attempt's."""
    spans = [stage_span("rubric", 2, 3), stage_span("rubric", 5, 6)]
    said = [decision(str(time), time, stage="rubric", seq=n) for n, time in enumerate((1, 4, 5, 9))]
    found = document(run_span(*said), *spans).stages["rubric"]
    assert [(d.decision, d.attempt) for d in found.decisions] == [("1", 1), ("4", 1), ("5", 2), ("9", 2)]


def test_a_decision_on_somebody_elses_span_belongs_to_the_stage_around_it() -> None:
    """By the stamp, else by ancestry; the span itself need not carry the run's id."""
    outer = stage_span("synthesis", 1, 9, span_id="00000000000000a1")
    common: dict[str, Any] = {"trace_id": TRACE_ID, "start_ns": at(2)}
    below = SpanRecord(
        span_id="00000000000000a2", parent_span_id=outer.span_id, events=(decision("below", 2),), **common
    )
    stamp = {semconv.RUN_ID: RUN_ID, semconv.STAGE_SPAN_ID: outer.span_id}
    stamped = SpanRecord(span_id="00000000000000a3", events=(decision("stamped", 3),), attributes=stamp, **common)
    found = document(run_span(), outer, below, stamped).stages
    assert {name: [d.decision for d in one.decisions] for name, one in found.items()} == {
        "synthesis": ["below", "stamped"]
    }


# Facts


def test_facts_of_a_stage_that_is_not_open_are_laid_over_it() -> None:
    """Later ones win, key by key; a stage that was never started comes to be."""
    said = [
        event("stage: a", 4, attributes(stage_name="a", stage_model="m", stage_outputs={"n": 1}, seq=1)),
        event("stage: a", 4, attributes(stage_name="a", stage_outputs={"n": 2}, seq=2)),
        event("stage: b", 4, attributes(stage_name="b", stage_prompt_={"user": "hi"}, seq=3)),
    ]
    found = document(run_span(*reversed(said)), stage_span("a", 1, 2, stage_component="C", stage_model="x")).stages
    assert (found["a"].outputs, found["a"].model, found["a"].component) == ({"n": 2}, "m", "C")
    assert found["b"].prompts == {"user": "hi"}


def test_evidence_is_counted_where_nobody_counted() -> None:
    """From the lists and the items' source; what the pipeline said stays."""
    kept = [{"url": "1", "source": "exa"}, {"url": "2", "source": "reddit"}, {"url": "3"}]
    found = stage(
        "c", stage_span("c", 1, 2, stage_evidence={"kept": kept, "filtered_out": [{"source": "exa"}], "why": 1})
    )
    assert found.evidence == {
        "kept": kept,
        "filtered_out": [{"source": "exa"}],
        "why": 1,
        "collected_count": 4,
        "by_source": {"exa": 2, "reddit": 1},
    }
    said = {"collected_count": 9, "by_source": {"x": 9}, "kept": [1, 2]}
    assert stage("c", stage_span("c", 1, 2, stage_evidence=said)).evidence == said


@pytest.mark.parametrize(
    "said",
    [
        {"evidence_kept": 18, "evidence_filtered": 10, "evidence_collected": 28},
        {"stage_outputs": {"evidence_passed": 18, "evidence_filtered": 10}},
    ],
)
def test_evidence_counts_are_kept_without_the_evidence(said: dict[str, Any]) -> None:
    """Whoever only counted is counted."""
    found = stage("collection", stage_span("collection", 1, 2, **said))
    assert found.evidence == {"collected_count": 28, "kept_count": 18, "filtered_count": 10}


def test_usage_comes_from_the_typed_call_then_from_outputs() -> None:
    """Field by field, and `outputs` stays as recorded."""
    outputs = {"model": "m", "token_usage": {"input_tokens": 7, "output_tokens": 3}, "cost_usd": 0.5}
    found = stage("s", stage_span("s", 1, 2, stage_input_tokens=10, stage_outputs=outputs))
    assert msgspec.to_builtins(found.token_usage) == {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}
    assert (found.model, found.cost_usd, found.outputs) == ("m", 0.5, outputs)


def test_text_that_was_cut_on_its_way_is_kept() -> None:
    """A length limit that cuts JSON in the middle costs the structure, not the content."""
    cut = '{"report_path": "artifac'
    span = stage_span("s", 1, 2)
    span = msgspec.structs.replace(
        span, attributes={**span.attributes, semconv.STAGE_OUTPUTS: cut, semconv.STAGE_EVIDENCE: cut}
    )
    run = run_span()
    run = msgspec.structs.replace(run, attributes={**run.attributes, semconv.RUN_OUTPUTS: cut})
    found = document(run, span)
    assert found.outputs == {"raw": cut}
    assert (found.stages["s"].outputs, found.stages["s"].evidence) == (cut, {"raw": cut})


# The quality gate


def verdict(found: StageTrace | Attempt) -> dict[str, Any]:
    """Give what a stage says of quality."""
    said = msgspec.to_builtins(found)
    names = ("principle_scores", "overall_score", "passing", "threshold", "gaps", "strengths")
    return {name: said[name] for name in names if name in said}


def test_the_verdict_is_worked_out_from_the_scores() -> None:
    """Mean, gaps (below 2), strengths (3), and passing where a threshold is known; a principle's last score counts."""
    scores = [
        score("A", 3.0, 1.1, seq=1),
        score("B", 0, 1.2, seq=2),
        score("B", 1.5, 1.3, seq=3, score_explanation="vague"),
        score("C", 2, 1.4, seq=4),
    ]
    found = stage("quality_gate", stage_span("quality_gate", 1, 2, *reversed(scores), gate_threshold=2))
    assert verdict(found) == {
        "principle_scores": [
            {"id": "A", "name": None, "score": 3, "feedback": None},
            {"id": "B", "name": None, "score": 1.5, "feedback": "vague"},
            {"id": "C", "name": None, "score": 2, "feedback": None},
        ],
        "overall_score": 2.1667,
        "passing": True,
        "threshold": 2.0,
        "gaps": [{"id": "B", "score": 1.5, "feedback": "vague"}],
        "strengths": [{"id": "A", "score": 3, "feedback": None}],
    }


@pytest.mark.parametrize(
    "scores",
    [
        [{"id": "A", "score": 3}, {"id": "B", "score": 1}],
        {"A": 3, "B": 1},
        {"A": {"score": 3}, "B": {"score": 1.0}},
    ],
)
@pytest.mark.parametrize("where", ["outputs", "inputs", "what"])
def test_a_verdict_is_found_wherever_the_pipeline_put_it(scores: Any, where: str) -> None:
    """In the stage's outputs, or in a decision's inputs or choice."""
    said = {"principle_scores": scores, "passed": False, "threshold": 2.5, "gap_principles": ["B"]}
    in_decision: dict[str, Any] = {where: said} if where != "outputs" else {}
    outputs: dict[str, Any] = {"stage_outputs": said} if where == "outputs" else {}
    assessed = decision("quality_assessment", 1.5, **in_decision)
    found = verdict(stage("quality_gate", stage_span("quality_gate", 1, 2, assessed, **outputs)))
    assert [(one["id"], one["score"]) for one in found["principle_scores"]] == [("A", 3), ("B", 1)]
    assert (found["overall_score"], found["passing"], found["threshold"]) == (2.0, False, 2.5)
    assert found["gaps"] == [{"id": "B", "score": 1, "feedback": None}]
    assert [one["id"] for one in found["strengths"]] == ["A"]


def test_the_typed_verdict_outranks_outputs_and_both_are_united() -> None:
    """A name that only outputs know is added, a score that both say is the typed one."""
    outputs = {
        "principle_scores": [{"id": "A", "name": "Alpha", "score": 0}, {"id": "B", "score": 3}],
        "overall_score": 1,
    }
    span = stage_span(
        "quality_gate", 1, 2, score("A", 2, 1.5), stage_outputs=outputs, gate_overall_score=2.9, score_={"C": 1.0}
    )
    found = verdict(stage("quality_gate", span))
    assert [(one["id"], one["name"], one["score"]) for one in found["principle_scores"]] == [
        ("A", "Alpha", 2),
        ("C", None, 1),
        ("B", None, 3),
    ]
    assert found["overall_score"] == 2.9


def test_a_threshold_alone_is_no_verdict() -> None:
    """Collection has thresholds too."""
    assert verdict(stage("collection", stage_span("collection", 1, 2, stage_outputs={"threshold": 0.5}))) == {}


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
