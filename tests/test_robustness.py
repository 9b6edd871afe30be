"""What a host or a pipeline may do in awkward places: no run is lost, and the context stays what it was."""

import logging
import threading
import time
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

import ire_otel
from ire_otel.recording import host
from tests.runs import decisions, document, documents


class Slow(SpanProcessor):
    """A span processor of the application that takes its time, and then fails."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_end(self, span: ReadableSpan) -> None:
        time.sleep(self.seconds)
        raise RuntimeError("collector is down")


def configured_with(processor: SpanProcessor) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    ire_otel.configure(tracer_provider=provider)


def test_a_failing_span_processor_of_the_application_costs_no_run(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged; run, stage and decision are in the file."""
    configured_with(Slow(0))
    with ire_otel.run(query="q"), ire_otel.stage("intake"):
        ire_otel.decide("kept", what=1, why="y")
    assert decisions(document(), "intake") == ["kept"]
    assert "collector is down" in caplog.text


@pytest.mark.parametrize("stop", [ire_otel.shutdown, ire_otel.configure])
def test_a_run_that_another_thread_is_ending_is_waited_for(stop: Any) -> None:
    """Stopping in the middle of an end loses nothing."""
    configured_with(Slow(0.3))
    trace = ire_otel.run(query="q")
    thread = threading.Thread(target=trace.end_run)
    thread.start()
    time.sleep(0.1)
    stop()
    thread.join()
    assert document().trace_id == trace.trace_id


def test_runs_that_end_while_others_stop_and_start_are_all_written() -> None:
    """A stopped worker takes what comes later, too."""
    for _ in range(30):
        ire_otel.configure()
        thread = threading.Thread(target=lambda: ire_otel.run(query="q").end_run())
        thread.start()
        ire_otel.shutdown(10)
        thread.join()
    ire_otel.shutdown(10)
    assert len(documents()) == 30


def test_flush_after_a_stop_returns() -> None:
    """Also on the runtime that was stopped."""
    ire_otel.finish_sync(ire_otel.run(query="q"))
    stopped: Any = host.installed()
    ire_otel.shutdown(10)
    assert stopped.flush(5)


def test_what_is_recorded_after_a_stop_inside_a_run_is_kept() -> None:
    """The run was ended as incomplete by then; its document is written again."""
    with ire_otel.run(query="q") as trace:
        ire_otel.shutdown(10)
        runtime: Any = trace._host
        trace.record("intake", "late", {"what": 1})
    assert runtime.flush(10)
    assert decisions(document(), "intake") == ["late"]


def test_a_generator_that_outlives_its_run_leaves_the_consumers_context_alone() -> None:
    """Closed, or consumed further, inside another run and stage."""

    @ire_otel.traced_stage("items")
    def items() -> Any:
        yield 1
        yield 2

    with ire_otel.run(query="first"):
        closed, consumed = items(), items()
        next(closed)
        next(consumed)
    with ire_otel.run(query="second") as second, ire_otel.stage("filter") as stage:
        closed.close()
        assert ire_otel.current_stage() is stage
        assert list(consumed) == [2]
        assert (ire_otel.current_run(), ire_otel.current_stage()) == (second, stage)
        ire_otel.decide("here", what=1, why="y")
    assert decisions(documents()[1], "filter") == ["here"]


def test_an_exception_that_cannot_be_formatted_passes_unchanged() -> None:
    """The pipeline sees its own error, and the run is in the file."""
    error = SyntaxError("bad", ("t", 1, 1, b"x"))  # type: ignore[arg-type] # as hostile code would
    with pytest.raises(SyntaxError) as caught, ire_otel.run(query="q"):
        raise error
    assert caught.value is error
    assert document().run.status == "incomplete"


def test_facts_that_come_after_the_end_reach_the_file() -> None:
    """Outputs, marks and a background stage's error; the document is written again."""
    with ire_otel.run(query="q") as trace:
        stage = trace.start_stage("background")
    assert ire_otel.flush(10)
    trace.set_outputs({"report_path": "x.md"})
    trace.mark_failed("found out later")
    trace.intent = "validating"
    stage.end_stage(error=ValueError("boom"))
    made = document()
    assert (made.run.status, made.run.error, made.run.intent) == ("failed", "found out later", "validating")
    assert made.outputs["report_path"] == "x.md"


def test_ending_a_run_from_many_threads_ends_it_once() -> None:
    """One end, one document."""
    trace = ire_otel.run(query="q")
    threads = [threading.Thread(target=trace.end_run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert document().trace_id == trace.trace_id
    assert sum(line.startswith(b'["end"') for line in trace.log.spans[trace.span_id]) == 1


class Name(Enum):
    INTAKE = "intake"


def test_arguments_of_other_kinds_are_taken_as_they_are_meant(caplog: pytest.LogCaptureFixture) -> None:
    """Enums as stage names, Decimals as costs, huge integers, generators, texts where a mapping belongs."""
    numbers = (number for number in range(3))
    with caplog.at_level(logging.WARNING), ire_otel.run(query=10**5000, project_name=["a"]) as trace:  # type: ignore[arg-type] # the mistake
        trace.start_stage(Name.INTAKE)  # type: ignore[arg-type] # as above
        trace.end_stage(Name.INTAKE)  # type: ignore[arg-type] # as above
        assert ire_otel.current_stage() is None
        with ire_otel.stage("synthesis") as synthesis:
            synthesis.usage(model="m", cost_usd=Decimal("0.25"))  # type: ignore[arg-type] # as above
            synthesis.usage(model="m", input_tokens=10)
            synthesis.evidence(kept=numbers, filtered_out=None)  # type: ignore[arg-type] # as above
        ire_otel.decide("huge", what=10**5000, why="y", confidence=10**5000)
        trace.record_prompts("rubric", "just text")  # type: ignore[arg-type] # as above
        trace.record_evidence("collection", [1])  # type: ignore[arg-type] # as above
    made = document()
    assert list(made.stages)[:1] == ["intake"]
    assert (made.stages["synthesis"].model, made.stages["synthesis"].cost_usd) == ("m", 0.25)
    assert made.stages["synthesis"].token_usage
    assert list(numbers) == [0, 1, 2]
    assert decisions(made, "run") == ["huge"]
    assert made.stages["rubric"].prompts == {"prompt": "just text"}
    assert made.stages["collection"].evidence


def test_finishing_no_run_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """`finish(current())` outside a run."""
    nothing: Any = ire_otel.current_run()
    assert ire_otel.finish_sync(nothing) == {"saved": False, "reason": "no_run"}
    assert "no run" in caplog.text
