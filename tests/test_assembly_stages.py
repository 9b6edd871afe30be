"""Assembly of stages: attempts, decisions, facts and the gate."""

from typing import Any

import msgspec
import pytest

from ire_otel import semconv
from ire_otel.model import Attempt, StageTrace
from ire_otel.records import SpanRecord
from tests.run_records import (
    RUN_ID,
    SECOND,
    START,
    TRACE_ID,
    at,
    attempts,
    attributes,
    decision,
    document,
    event,
    run_span,
    score,
    stage,
    stage_span,
)

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
