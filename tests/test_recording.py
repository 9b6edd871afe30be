"""Recording with decorators, blocks and decide(): what a pipeline says is what its document holds."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import ire_otel
from tests.runs import decision, decisions, document, documents, rows


@ire_otel.traced_stage("intake")
def intake(query: str) -> dict[str, str]:
    ire_otel.decide(
        "classified_intent",
        what="validating",
        why="the query states a hypothesis",
        confidence=0.85,
        alternatives=["exploring (0.10)"],
        inputs={"query_text": query},
    )
    return {"intent": "validating"}


@ire_otel.traced_run(project_name="cobot", report_type="market_research")
def research(query: str, *, fail: bool = False) -> str:
    intake(query)
    if fail:
        raise RuntimeError("no sources")
    return "report"


def test_a_decorated_pipeline_leaves_one_document_and_one_row() -> None:
    """The main job: query, project, stage, decision and outputs are there, in file and row."""
    assert research("Are cobots winning?") == "report"
    made = document()
    assert (made.project_name, made.run.query, made.run.status) == ("cobot", "Are cobots winning?", "complete")
    assert made.run.intent == "validating"  # learnt from the intake stage's outputs
    taken = decision(made, "intake", "classified_intent")
    assert (taken.what, taken.confidence, taken.alternatives_considered) == ("validating", 0.85, ["exploring (0.10)"])
    assert taken.inputs == {"query_text": "Are cobots winning?"}
    assert taken.component == "intake"
    assert made.stages["intake"].outputs == {"intent": "validating"}
    assert made.metadata.tracing_overhead_ms is not None
    assert made.metadata.tracing_overhead_ms > 0
    (row,) = rows()
    assert (row["trace_id"], row["status"], row["intent"]) == (made.trace_id, "complete", "validating")
    assert row["trace_file_path"] == f"brain/projects/cobot/_traces/{made.trace_id}.json"


def test_the_query_is_found_by_its_argument_name_however_it_is_passed() -> None:
    """Positional, by keyword, by default, under another name."""

    @ire_otel.traced_run(query="question")
    def ask(_first: int, question: str = "default?") -> None: ...

    ask(1)
    ask(1, "positional?")
    ask(1, question="keyword?")
    assert [made.run.query for made in documents()] == ["default?", "positional?", "keyword?"]


def test_an_exception_passes_unchanged_and_ends_the_run_as_incomplete() -> None:
    """The caller sees its own exception object; the document has it at run level."""
    with pytest.raises(RuntimeError, match="no sources") as caught:
        research("q", fail=True)
    assert caught.value.__cause__ is None
    made = document()
    assert (made.run.status, made.run.error) == ("incomplete", "RuntimeError: no sources")
    assert decisions(made, "intake") == ["classified_intent"]


async def test_async_functions_and_parallel_stages_keep_their_own_decisions() -> None:
    """Under asyncio.gather each stage gets exactly what was decided inside it."""

    @ire_otel.traced_stage("collection")
    async def collect(source: str) -> None:
        for step in range(5):
            ire_otel.decide(f"{source}_{step}", what=source, why="asked for")
            await asyncio.sleep(0)

    @ire_otel.traced_run(project_name="cobot")
    async def run_all(query: str) -> str:
        await asyncio.gather(collect("exa"), collect("reddit"))
        assert ire_otel.current_stage() is None, "the parallel stages have ended"
        return query

    assert await run_all("q") == "q"
    stage = document().stages["collection"]
    assert stage.attempts
    assert len(stage.attempts) == 2
    for source in ("exa", "reddit"):
        of_source = [taken for taken in stage.decisions if taken.what == source]
        assert [taken.decision for taken in of_source] == [f"{source}_{step}" for step in range(5)]
        assert len({taken.attempt for taken in of_source}) == 1
    assert {taken.attempt for taken in stage.decisions} == {1, 2}


async def test_two_concurrent_runs_never_mix() -> None:
    """Each document holds its own run's decisions and no others."""

    @ire_otel.traced_run(project_name="cobot")
    async def one(query: str) -> None:
        with ire_otel.stage("intake"):
            for step in range(20):
                ire_otel.decide(f"step_{step}", what=query, why="its turn")
                await asyncio.sleep(0)

    await asyncio.gather(*(one(f"query {number}") for number in range(8)))
    made = documents()
    assert len(made) == 8
    for each in made:
        assert [taken.what for taken in each.stages["intake"].decisions] == [each.run.query] * 20


def test_threads_that_carry_the_context_record_into_the_run() -> None:
    """copy_context().run, as asyncio.to_thread does it."""

    def work(number: int) -> None:
        ire_otel.decide(f"chunk_{number}", what=number, why="its share")

    with ire_otel.run(query="q"), ire_otel.stage("collection"), ThreadPoolExecutor(4) as pool:
        for number in range(50):
            pool.submit(contextvars.copy_context().run, work, number)
    assert sorted(decisions(document(), "collection")) == sorted(f"chunk_{number}" for number in range(50))


def test_a_generator_stage_does_not_leak_into_its_consumer() -> None:
    """While the consumer holds an item, the consumer's own stage is current; inside, the generator's."""

    @ire_otel.traced_stage("collection")
    def items() -> Generator[int, str | None, None]:
        for number in range(3):
            ire_otel.decide("fetched", what=number, why="next")
            sent = yield number
            if sent:
                ire_otel.decide("was_sent", what=sent, why="the consumer said so")

    with ire_otel.run(query="q"), ire_otel.stage("synthesis") as synthesis:
        generator = items()
        for item in generator:
            assert ire_otel.current_stage() is synthesis
            ire_otel.decide("used", what=item, why="it came")
        second = items()
        assert next(second) == 0
        assert second.send("hello") == 1
        second.close()
        assert ire_otel.current_stage() is synthesis
    made = document()
    assert decisions(made, "synthesis") == ["used"] * 3
    assert decisions(made, "collection") == ["fetched"] * 4 + ["was_sent", "fetched"]
    assert made.stages["collection"].error is None
    assert made.run.status == "complete"


async def test_an_async_generator_stage_does_not_leak_either() -> None:
    """The same for async generators, an early break and an exception included."""

    @ire_otel.traced_stage("collection")
    async def items() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            ire_otel.decide("fetched", what=number, why="next")
            yield number

    async with ire_otel.run(query="q"):
        async for _ in items():
            assert ire_otel.current_stage() is None
        broken = items()
        await anext(broken)
        with pytest.raises(KeyError):
            await broken.athrow(KeyError("thrown in"))  # type: ignore[attr-defined] # an async generator
        assert ire_otel.current_stage() is None
    stage = document().stages["collection"]
    assert [taken.decision for taken in stage.decisions] == ["fetched"] * 4
    assert stage.attempts
    assert [attempt.error for attempt in stage.attempts] == [None, "KeyError: 'thrown in'"]


def test_nested_runs_keep_their_own_decisions_and_know_each_other() -> None:
    """The parent lists the child, the child names the parent, and neither repeats the other's decisions."""
    with ire_otel.run(query="parent", project_name="cobot") as parent:
        ire_otel.decide("outer", what=1, why="before")
        with ire_otel.run(query="child", project_name="cobot", output_type="report") as child:
            ire_otel.decide("inner", what=2, why="within")
            child.set_outputs({"report_path": "brain/projects/cobot/artifacts/x.md"})
        assert ire_otel.current_run() is parent
        ire_otel.decide("outer_again", what=3, why="after")
    first, second = documents()
    assert decisions(first, "run") == ["outer", "outer_again"]
    assert decisions(second, "run") == ["inner"]
    assert second.parent_trace_id == first.trace_id == parent.trace_id
    (listed,) = first.child_traces
    assert (listed.trace_id, listed.output_type, listed.path) == (
        child.trace_id,
        "report",
        "brain/projects/cobot/artifacts/x.md",
    )
    assert first.metadata.otel_trace_id == second.metadata.otel_trace_id


def test_a_run_of_its_own_trace_links_to_where_it_was_started() -> None:
    """new_trace=True."""
    with ire_otel.run(query="parent"), ire_otel.run(query="child", new_trace=True):
        pass
    first, second = documents()
    assert first.metadata.otel_trace_id != second.metadata.otel_trace_id
    assert second.parent_trace_id == first.trace_id


def test_a_stage_that_runs_again_keeps_every_attempt() -> None:
    """The stage's own fields are the last attempt's; decisions know theirs."""
    with ire_otel.run(query="q"):
        for number in (1, 2):
            with ire_otel.stage("synthesis") as synthesis:
                ire_otel.decide("drafted", what=number, why="asked")
                synthesis.usage(model="m", input_tokens=10 * number, output_tokens=number)
                synthesis.set_outputs({"draft": number})
    stage = document().stages["synthesis"]
    assert [(taken.what, taken.attempt) for taken in stage.decisions] == [(1, 1), (2, 2)]
    assert stage.outputs == {"draft": 2}
    assert stage.attempts
    assert [attempt.outputs for attempt in stage.attempts] == [{"draft": 1}, {"draft": 2}]


def test_evidence_scores_usage_and_verdict_are_in_the_document() -> None:
    """The typed calls."""
    with ire_otel.run(query="q"):
        with ire_otel.stage("collection") as collection:
            collection.evidence(
                kept=[{"url": "https://a", "title": "A", "scores": {"composite": 0.9}, "source": "exa"}],
                filtered_out=[{"url": "https://b", "reason": "old", "scores": {"recency": 0.1}, "source": "reddit"}],
                query_terms_used=["cobots"],
            )
        with ire_otel.stage("synthesis") as synthesis:
            synthesis.prompts(system_prompt="You are…", user_message="Evidence: …")
            synthesis.usage(model="m", input_tokens=5, output_tokens=2)
            synthesis.usage(input_tokens=5, cost_usd=0.5)
        with ire_otel.stage("quality_gate") as gate:
            gate.score("META-1", 3, name="No Generics", feedback="specific")
            gate.score("META-12", 1.5)
            gate.verdict(passed=True, overall_score=2.25, threshold=2.0)
    made = document()
    assert made.stages["collection"].evidence
    assert made.stages["collection"].evidence["collected_count"] == 2
    assert made.stages["collection"].evidence["by_source"] == {"exa": 1, "reddit": 1}
    synthesis_made = made.stages["synthesis"]
    assert synthesis_made.prompts == {"system_prompt": "You are…", "user_message": "Evidence: …"}
    assert synthesis_made.token_usage
    assert (synthesis_made.token_usage.input_tokens, synthesis_made.cost_usd) == (10, 0.5)
    gate_made = made.stages["quality_gate"]
    assert (gate_made.passing, gate_made.overall_score, gate_made.threshold) == (True, 2.25, 2)
    assert gate_made.gaps
    assert [gap.id for gap in gate_made.gaps] == ["META-12"]


def test_the_component_is_the_declared_one_else_the_calling_function() -> None:
    """TracingComponent, component= on the call, component= on the stage, qualified name: in that order of claim."""

    class Loader(ire_otel.TracingComponent):
        @property
        def component_name(self) -> str:
            return "rubric_loader"

        def get_trace_schema(self) -> dict[str, Any]:
            return {"decisions": ["loaded", "by_method"]}

        def load(self) -> None:
            ire_otel.decide("loaded", what=1, why="asked")
            self.decide("by_method", what=2, why="asked")

    with ire_otel.run(query="q") as trace:
        Loader().load()
        ire_otel.decide("named", what=1, why="y", component="Somebody")
        ire_otel.decide("passed_on", what=1, why="y", component=Loader())
        with ire_otel.stage("intake", component="Classifier") as intake_stage:
            ire_otel.decide("of_stage", what=1, why="y")
            intake_stage.decide("of_stage_too", what=1, why="y")
            Loader().load()
        trace.record("intake", "spec_style", {"what": 1})
        trace.record("intake", "spec_named", {"what": 1, "component": "Scorer"})
    made = document()
    found = {taken.decision: taken.component for stage in made.stages.values() for taken in stage.decisions}
    here = "test_the_component_is_the_declared_one_else_the_calling_function"
    assert found == {
        "loaded": "rubric_loader",
        "by_method": "rubric_loader",
        "named": "Somebody",
        "passed_on": "rubric_loader",
        "of_stage": "Classifier",
        "of_stage_too": "Classifier",
        "spec_style": here,
        "spec_named": "Scorer",
    }


def test_a_hundred_thousand_decisions_are_all_kept_in_order() -> None:
    """SDK limits (128 events) never touch what ire-otel records."""
    with ire_otel.run(query="q"), ire_otel.stage("collection"):
        for number in range(100_000):
            ire_otel.decide("scored", what=number, why="each")
    assert [taken.what for taken in document().stages["collection"].decisions] == list(range(100_000))


def test_flush_tells_the_truth_and_shutdown_lets_the_next_run_start_anew() -> None:
    """After flush() file and row are there; a run after shutdown() is recorded as well."""
    research("first")
    assert ire_otel.flush(30)
    assert len(rows()) == 1
    assert ire_otel.shutdown(30)
    research("second")
    assert len(rows()) == 2


def test_a_run_open_at_shutdown_is_incomplete() -> None:
    """Its decisions and its open stage are kept."""
    trace = ire_otel.run(query="q")
    ire_otel.stage("intake")
    ire_otel.decide("early", what=1, why="y")
    ire_otel.shutdown(30)
    made = document()
    assert (made.trace_id, made.run.status) == (trace.trace_id, "incomplete")
    assert decisions(made, "intake") == ["early"]
    assert any("still open" in warning for warning in made.metadata.warnings)


def test_recording_from_many_threads_into_one_stage_loses_nothing() -> None:
    """8 threads x 500 decisions through the stage object itself, without any context."""
    with ire_otel.run(query="q"), ire_otel.stage("collection") as stage:

        def work(worker: int) -> None:
            for number in range(500):
                stage.decide("scored", what=[worker, number], why="each")

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    taken = document().stages["collection"].decisions
    assert len(taken) == 4_000
    for worker in range(8):
        assert [each.what[1] for each in taken if each.what[0] == worker] == list(range(500))


def test_runs_that_end_on_many_threads_at_once_are_all_written() -> None:
    """More of them than are kept for late spans."""

    def work(worker: int) -> None:
        for number in range(25):
            with ire_otel.run(query=f"{worker}/{number}", project_name="cobot") as trace:
                trace.record_prompts("synthesis", {"system_prompt": "x" * 100_000})

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made.run.query or "" for made in documents()) == sorted(
        f"{worker}/{number}" for worker in range(8) for number in range(25)
    )
    assert len(rows()) == 200
