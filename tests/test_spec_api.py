"""The SPEC's way of recording: TraceContext and every method and field of Trace, as its examples use them."""

import asyncio
import logging
from typing import Any

import pytest

import ire_otel
from ire_otel import TraceContext
from tests.runs import decisions, document, documents


async def test_the_example_of_the_specification_works() -> None:
    """`async with`, record, start_stage, end_stage; left normally, the run is complete."""
    async with TraceContext.start(project_id="5b3c1d2e-0000-4000-8000-000000000000", query="cobots?") as trace:
        assert TraceContext.current() is trace
        trace.record(
            "intake",
            "classified_intent",
            {
                "what": "validating",
                "why": "User has existing hypothesis",
                "confidence": 0.85,
                "alternatives_considered": ["exploring (0.10)"],
                "inputs": {"query_text": "cobots?"},
            },
        )
        trace.start_stage("collection")
        trace.record_evidence("collection", {"collected_count": 28, "by_source": {"exa": 22, "reddit": 6}})
        trace.record_prompts("synthesis", {"system_prompt": "S", "user_message": "U"})
        trace.end_stage("collection", outputs={"evidence_passed": 18, "evidence_filtered": 10})
        trace.record_iteration(
            {"iteration": 1, "quality_gate_result": "FAIL", "overall_score": 1.6, "gaps": ["META-1"]}
        )
        trace.record_iteration({"iteration": 2, "quality_gate_result": "PASS", "overall_score": 2.4})
        trace.set_outputs({"report_path": "r.md", "evidence_paths": ["e"]})
        trace.intent = "validating"
        trace.domain = "robotics"
        assert trace.stages["intake"].name == "intake"
        assert trace.stages["intake"].decisions[0].inputs == {"query_text": "cobots?"}
        assert trace.stages["collection"].outputs["evidence_passed"] == 18
        assert (trace.iteration_count, trace.quality_gate_failures) == (2, 1)
        assert trace.iterations[0]["gaps"] == ["META-1"]
        assert trace.outputs["report_path"] == "r.md"
        assert trace.status == "in_progress"
        assert trace.to_dict()["run"]["status"] == "in_progress"
    assert TraceContext.current() is None
    result = await TraceContext.finish(trace)
    assert result["supabase"] == "saved"
    made = document()
    assert result == {"trace_id": made.trace_id, "file_path": result["file_path"], "supabase": "saved"}
    assert (made.run.status, made.run.intent, made.run.domain) == ("complete", "validating", "robotics")
    assert made.stages["collection"].evidence == {
        "collected_count": 28,
        "by_source": {"exa": 22, "reddit": 6},
        "kept_count": 18,
        "filtered_count": 10,
    }
    assert made.stages["synthesis"].prompts == {"system_prompt": "S", "user_message": "U"}
    assert (made.iteration_count, made.quality_gate_failures) == (2, 1)


async def test_a_bare_finish_of_an_unmarked_run_is_incomplete_and_twice_does_no_harm() -> None:
    """In a `finally`, finish cannot tell success from a crash."""
    trace = TraceContext.start(query="q")
    first = await TraceContext.finish(trace)
    assert await TraceContext.finish(trace) == first
    assert TraceContext.current() is None
    assert document().run.status == "incomplete"


@pytest.mark.parametrize(
    ("marks", "status", "error"),
    [
        (["complete"], "complete", None),
        (["incomplete"], "incomplete", None),
        (["failed"], "failed", "no evidence"),
        (["failed", "complete"], "failed", "no evidence"),
        (["complete", "failed"], "failed", "no evidence"),
        (["complete", "incomplete"], "incomplete", None),
    ],
)
def test_marks_decide_the_status_and_failed_wins(marks: list[str], status: str, error: str | None) -> None:
    """mark_failed wins over any other mark; its error survives set_outputs."""
    trace = TraceContext.start(query="q")
    for mark in marks:
        if mark == "failed":
            trace.mark_failed("no evidence")
        else:
            getattr(trace, f"mark_{mark}")()
        assert trace.completed_at is not None
    trace.set_outputs({"report_path": "r.md"})
    ire_otel.finish_sync(trace)
    made = document()
    assert (made.run.status, made.run.error) == (status, error)
    assert made.outputs.get("error") == error
    assert made.outputs["report_path"] == "r.md"


def test_an_exception_after_mark_complete_is_incomplete() -> None:
    """A mark does not hide a crash."""
    with pytest.raises(KeyError), ire_otel.run(query="q") as trace:
        trace.mark_complete()
        raise KeyError("late")
    assert (document().run.status, document().run.error) == ("incomplete", "KeyError: 'late'")


def test_a_stage_that_was_never_started_has_its_decisions_all_the_same() -> None:
    """trace.record and decide(stage=…) reach it; it has no times."""
    with ire_otel.run(query="q") as trace:
        trace.record("rubric", "rubric_loaded", {"what": "21 principles", "why": "report type"})
        ire_otel.decide("intent_activation", what="activated", why="intent", stage="rubric")
    stage = document().stages["rubric"]
    assert [taken.decision for taken in stage.decisions] == ["rubric_loaded", "intent_activation"]
    assert (stage.started_at, stage.duration_seconds) == (None, None)


def test_a_stage_that_has_ended_takes_further_facts() -> None:
    """Scores, evidence, outputs and decisions that come after end_stage belong to the attempt that ran last."""
    with ire_otel.run(query="q") as trace:
        gate = trace.start_stage("quality_gate")
        trace.end_stage("quality_gate")
        gate.score("META-1", 3)
        gate.set_outputs({"passed": True})
        gate.decide("second_look", what="fine", why="on reflection")
        trace.record("quality_gate", "third_look", {"what": "still fine"})
        trace.record_evidence("quality_gate", {"kept": []})
    stage = document().stages["quality_gate"]
    assert stage.principle_scores
    assert [score.id for score in stage.principle_scores] == ["META-1"]
    assert (stage.outputs, stage.passing, stage.evidence["kept"]) == ({"passed": True}, True, [])  # type: ignore[index] # set
    assert [taken.decision for taken in stage.decisions] == ["second_look", "third_look"]


def test_end_stage_without_start_warns_and_keeps_the_outputs(caplog: pytest.LogCaptureFixture) -> None:
    """One warning; nothing is lost."""
    with caplog.at_level(logging.WARNING, "ire_otel"), ire_otel.run(query="q") as trace:
        trace.end_stage("synthesis", {"sections": 7}, error="cut short")
    assert any("no such stage is open" in record.message for record in caplog.records)
    stage = document().stages["synthesis"]
    assert (stage.outputs, stage.error) == ({"sections": 7}, "cut short")


def test_stages_started_and_ended_in_any_order_leave_the_right_one_current() -> None:
    """Overlapping start_stage/end_stage: what is current afterwards is what is still open."""
    with ire_otel.run(query="q") as trace:
        trace.start_stage("a")
        trace.start_stage("b")
        trace.end_stage("a")
        assert (current := ire_otel.current_stage()) is not None
        assert current.name == "b"
        ire_otel.decide("in_b", what=1, why="y")
        trace.end_stage("b")
        assert ire_otel.current_stage() is None
        ire_otel.decide("in_run", what=1, why="y")
        assert ire_otel.current_run() is trace
    made = document()
    assert decisions(made, "b") == ["in_b"]
    assert decisions(made, "run") == ["in_run"]


async def test_a_stage_may_end_in_another_task_than_it_began(caplog: pytest.LogCaptureFixture) -> None:
    """Quietly: no "Failed to detach context", and the run goes on under the right span."""
    async with TraceContext.start(query="q") as trace:

        async def begin() -> None:
            trace.start_stage("collection")
            ire_otel.decide("inside", what=1, why="y")

        async def end() -> None:
            trace.end_stage("collection", {"done": True})

        await asyncio.create_task(begin())
        await asyncio.create_task(end())
        ire_otel.decide("after", what=1, why="y")
    made = document()
    assert decisions(made, "collection") == ["inside"]
    assert made.stages["collection"].outputs == {"done": True}
    assert decisions(made, "run") == ["after"]
    assert "detach" not in caplog.text


def test_with_tracing_off_every_method_does_nothing() -> None:
    """`enabled=False`, or the project's own setting: same calls, no file, no row, nothing in a run around it."""
    ire_otel.configure(projects={"quiet": {"enabled": False}})
    with ire_otel.run(query="outer", project_name="loud"):
        ways: list[dict[str, Any]] = [{"enabled": False}, {"project_name": "quiet"}]
        for way in ways:
            trace = TraceContext.start(**way)
            assert TraceContext.current() is trace
            trace.intent = "validating"
            stage = trace.start_stage("intake")
            stage.score("META-1", 3)
            with ire_otel.stage("rubric") as rubric:
                rubric.decide("x", what=1)
            ire_otel.decide("nowhere", what=1, why="y")
            trace.record("intake", "nowhere", {"what": 1})
            trace.record_evidence("intake", {})
            trace.record_prompts("intake", {})
            trace.record_iteration({})
            trace.end_stage("intake", {"positional": True})
            trace.set_outputs({})
            trace.mark_complete()
            trace.mark_failed("x")
            trace.mark_incomplete()
            assert (trace.stages, trace.iterations, trace.outputs) == ({}, [], {})
            assert ire_otel.finish_sync(trace) == {"saved": False, "reason": "tracing_disabled"}
        assert (current := ire_otel.current_run()) is not None
        assert current.query == "outer"
        ire_otel.decide("somewhere", what=1, why="y")
    (made,) = documents()
    assert decisions(made, "run") == ["somewhere"]
    assert list(made.stages) == ["run"]


def test_facts_learnt_on_the_way_reach_the_document_and_later_stages() -> None:
    """All settable fields."""
    with ire_otel.run() as trace:
        for field in ("query", "intent", "domain", "report_type", "research_type"):
            setattr(trace, field, f"the {field}")
            assert getattr(trace, field) == f"the {field}"
        trace.project_id = "p-1"
    made = document()
    assert (made.run.query, made.run.intent, made.run.domain) == ("the query", "the intent", "the domain")
    assert (made.run.report_type, made.run.research_type) == ("the report_type", "the research_type")
    assert made.project_id == "p-1"


def test_trust_goes_typed_call_then_outputs() -> None:
    """Several ways of saying the same, one document; `outputs` stays as recorded."""
    with ire_otel.run(query="q") as trace:
        trace.start_stage("quality_gate")
        trace.end_stage(
            "quality_gate",
            {
                "passed": False,
                "overall_score": 1.5,
                "threshold": 2.0,
                "principle_scores": [{"id": "META-1", "score": 1, "feedback": "vague"}, {"id": "MR-1", "score": 2}],
            },
        )
        synthesis = trace.start_stage("synthesis")
        synthesis.usage(model="typed", input_tokens=1)
        trace.end_stage("synthesis", {"model": "stated", "token_usage": {"input_tokens": 9, "output_tokens": 4}})
    made = document()
    gate = made.stages["quality_gate"]
    assert (gate.passing, gate.overall_score, gate.threshold) == (False, 1.5, 2)
    assert gate.gaps
    assert [gap.id for gap in gate.gaps] == ["META-1"]
    synthesis_made = made.stages["synthesis"]
    assert synthesis_made.model == "typed"
    assert synthesis_made.token_usage
    assert synthesis_made.token_usage.input_tokens == 1
    assert synthesis_made.outputs["model"] == "stated"
