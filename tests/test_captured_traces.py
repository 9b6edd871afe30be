"""Capturing runs in a test: the same bytes every time, nothing written, and afterwards everything as it was."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ire_otel
from ire_otel import reader
from ire_otel.errors import ConfigurationError
from ire_otel.recording import host
from ire_otel.testing import CapturedTraces, captured_traces


@ire_otel.traced_stage("intake", component="QueryIntake")
def intake(query: str) -> dict[str, str]:
    ire_otel.decide(
        "classified_intent",
        what="exploring",
        why="no hypothesis is stated",
        confidence=0.6,
        alternatives=("validating (0.4)",),
        inputs={"query": query},
    )
    ire_otel.decide("bias_classification", what=None, why="neutral wording")
    return {"intent": "exploring"}


@ire_otel.traced_run(project_name="cobot")
def research(query: str) -> str:
    intake(query)
    return "report"


def test_finished_runs_are_documents_and_nothing_is_written(ire_traces: CapturedTraces, tmp_path: Path) -> None:
    """Whole documents, child runs included, in the order of their starts; no file and no database anywhere."""
    with ire_otel.run(query="parent"):
        research("child")
    research("last")
    assert [made.run.query for made in ire_traces.documents] == ["parent", "child", "last"]
    assert ire_traces.documents[1].parent_trace_id == ire_traces.documents[0].trace_id
    assert ire_traces.documents[1].stages["intake"].outputs == {"intent": "exploring"}
    assert list(tmp_path.iterdir()) == []


def test_ids_and_times_are_counted(ire_traces: CapturedTraces) -> None:
    """Ids from 1, time from 2026, a millisecond a reading; no trace of machine, process or version."""
    research("q")
    made = ire_traces.document
    assert made.trace_id == "trc_20260101_0000000000000001"
    assert (made.run.started_at, made.run.duration_seconds) == ("2026-01-01T00:00:00.000000Z", 0.006)
    assert made.metadata.otel_trace_id == f"{1:032x}"
    assert (made.metadata.tracing_overhead_ms, made.metadata.resource, made.metadata.generator) == (0.0, {}, "ire-otel")
    assert ire_traces.json == msgspec.json.format(msgspec.json.encode(made), indent=2).decode() + "\n"
    assert reader.decode(ire_traces.json.encode(), "captured") == made


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
calls = st.tuples(st.sampled_from(["intake", "synthesis", ""]), st.text(min_size=1, max_size=6), json_values)


@given(st.lists(calls, max_size=6))
def test_the_same_calls_give_the_same_bytes(said: list[tuple[str, str, Any]]) -> None:
    """Whatever is recorded; and every decision is there, in the order in which it was taken."""

    def recorded() -> tuple[str, list[str]]:
        with captured_traces() as traces:
            with ire_otel.run(query="q"):
                for stage, kind, what in said:
                    if not stage:
                        ire_otel.decide(kind, what=what, why="said", component="test")
                        continue
                    with ire_otel.stage(stage):
                        ire_otel.decide(kind, what=what, why="said", component="test")
            traces.assert_valid()
            return traces.json, [taken.decision for taken in traces.decisions()]

    once, again = recorded(), recorded()
    assert once == again
    assert len(once[1]) == len(said)


async def test_async_tests_are_captured_too(ire_traces: CapturedTraces) -> None:
    """Parallel runs keep apart, and `finish` says that nothing was saved."""

    async def one(query: str) -> dict[str, Any]:
        async with ire_otel.TraceContext.start(query=query) as run:
            await asyncio.sleep(0)
            ire_otel.decide("asked", what=query, why="its turn")
        return await ire_otel.TraceContext.finish(run)

    results = await asyncio.gather(one("a"), one("b"))
    assert [(made.run.query, made.stages["run"].decisions[0].what) for made in ire_traces.documents] == [
        ("a", "a"),
        ("b", "b"),
    ]
    assert [result["trace_id"] for result in results] == [made.trace_id for made in ire_traces.documents]
    assert {result["saved"] for result in results} == {False}


def test_runs_in_threads_and_late_decisions_are_captured(ire_traces: CapturedTraces) -> None:
    """A decision that comes after its run has ended is in the document as soon as it is looked at again."""
    thread = threading.Thread(target=research, args=("q",))
    thread.start()
    thread.join()
    with ire_otel.run(query="late") as run:
        pass
    assert ire_traces.documents[1].stages == {}
    run.record("intake", "afterthought", {"what": 1, "why": "somebody came back"})
    assert [taken.decision for taken in ire_traces.decisions("intake")] == [
        "classified_intent",
        "bias_classification",
        "afterthought",
    ]


def test_decisions_are_found_by_stage_type_and_component(ire_traces: CapturedTraces) -> None:
    """Each narrows; together they narrow further."""
    research("q")
    with ire_otel.run(query="r"):
        ire_otel.decide("classified_intent", what="learning", why="asked", component="Other")
    assert len(ire_traces.decisions()) == 3
    assert [taken.what for taken in ire_traces.decisions(type="classified_intent")] == ["exploring", "learning"]
    assert [taken.what for taken in ire_traces.decisions(stage="run")] == ["learning"]
    assert [taken.what for taken in ire_traces.decisions(component="QueryIntake", type="classified_intent")] == [
        "exploring"
    ]


def test_code_under_test_may_configure(ire_traces: CapturedTraces, tmp_path: Path) -> None:
    """configure(), flush() and shutdown() leave the capture alone; a wrong setting is an error as ever."""
    before = trace.get_tracer_provider()
    ire_otel.configure(exporters=["ire", "console"], brain_dir=tmp_path / "brain")
    research("q")
    assert ire_otel.flush(1)
    assert ire_otel.shutdown(1)
    research("r")
    assert len(ire_traces.documents) == 2
    assert list(tmp_path.iterdir()) == []
    assert trace.get_tracer_provider() is before
    with pytest.raises(ConfigurationError, match="brain_dir"):
        ire_otel.configure(brain_dri="x")


@pytest.mark.parametrize(("variable", "value"), [("OTEL_SDK_DISABLED", "true"), ("IRE_OTEL_ENABLED", "false")])
def test_tracing_that_is_off_is_on_in_such_a_test(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, ire_traces: CapturedTraces
) -> None:
    """Many a test environment switches telemetry off."""
    monkeypatch.setenv(variable, value)
    research("q")
    assert ire_traces.document.stages["intake"].decisions


def test_the_applications_provider_is_left_alone(ire_traces: CapturedTraces) -> None:
    """Its spans go on, its ids get into no document, and it hears nothing of the run."""
    research("q")
    alone = ire_traces.json
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with captured_traces() as traces, provider.get_tracer("app").start_as_current_span("request") as request:
        research("q")
        with ire_otel.run(query="r", new_trace=True), provider.get_tracer("app").start_as_current_span("inside"):
            intake("r")
        assert trace.get_current_span() is request
        first, second = traces.documents
    assert first == reader.decode(alone.encode(), "alone")
    assert second.metadata.otel_trace_id == f"{2:032x}"
    assert [span.name for span in exporter.get_finished_spans()] == ["inside", "request"]


def test_afterwards_everything_is_as_before(tmp_path: Path) -> None:
    """A configured application writes on; runs left open end as incomplete; no run is current."""
    research("before")
    context.attach(context.set_value("request", 7))
    runtime, around = host.installed(), context.get_current()
    with captured_traces() as traces:
        assert context.get_value("request") is None
        left_open = ire_otel.TraceContext.start(query="left open")
        left_open.start_stage("intake")
    assert (left_open.status, left_open.ended) == ("incomplete", True)
    assert traces.document.run.status == "incomplete"
    assert host.installed() is runtime
    assert context.get_current() is around
    assert ire_otel.current_run() is None
    research("after")
    assert ire_otel.flush(30)
    written = sorted(path.read_text(encoding="utf-8") for path in tmp_path.glob("brain/projects/cobot/_traces/*.json"))
    assert len(written) == 2
    assert not any("left open" in text for text in written)


def test_without_a_runtime_before_the_next_run_configures_anew(tmp_path: Path) -> None:
    """Nothing of the capture stays installed."""
    ire_otel.shutdown(10)
    with captured_traces():
        research("captured")
    assert host.installed() is None
    assert ire_otel.current_run() is None
    research("written")
    assert ire_otel.flush(30)
    assert len(list(tmp_path.glob("brain/projects/cobot/_traces/*.json"))) == 1


def test_internal_errors_are_raised(ire_traces: CapturedTraces, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without IRE_OTEL_RAISE, too; outside the capture they stay hidden."""

    class Broken(ire_otel.TracingComponent):
        @property
        def component_name(self) -> str:
            raise LookupError("no name")

        def get_trace_schema(self) -> dict[str, Any]:
            return {}

    monkeypatch.delenv("IRE_OTEL_RAISE")
    with ire_otel.run(query="q"), pytest.raises(LookupError, match="no name"):
        ire_otel.decide("taken", what=1, why="y", component=Broken())
    assert len(ire_traces.documents) == 1
