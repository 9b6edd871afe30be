"""Tracer providers and foreign spans: ire-otel at home in whatever OpenTelemetry set-up the application has."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased

import ire_otel
from ire_otel import semconv
from ire_otel.processor import RunSampler
from tests.runs import decisions, document


def attributes(span: Any) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    """An application's own provider, with OpenTelemetry's default limits."""
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


def test_the_applications_exporters_see_run_stage_and_decisions(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """Names, attributes and events as docs/semantic-conventions.md has them."""
    ire_otel.configure(tracer_provider=provider)
    with ire_otel.run(query="q", project_name="cobot", report_type="market_research", intent="validating") as run:
        with ire_otel.stage("synthesis"):
            ire_otel.decide("draft", what={"a": 1}, why="because", confidence=0.5, inputs={"x": [1]})
        with (
            ire_otel.stage("synthesis"),
            pytest.raises(ValueError, match="bad"),
            ire_otel.stage("quality_gate") as gate,
        ):
            gate.score("META-1", 1, feedback="vague")
            gate.verdict(passed=False)
            raise ValueError("bad")
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"research_run market_research", "synthesis", "synthesis #2", "quality_gate"}
    head, stage, gate_span = spans["research_run market_research"], spans["synthesis"], spans["quality_gate"]
    assert attributes(head)[semconv.RUN_ID] == run.trace_id
    assert attributes(head)[semconv.RUN_STATUS] == "complete"
    assert attributes(head)[semconv.GATE_PASSED] is False
    assert stage.parent == head.context
    assert attributes(stage)[semconv.PROJECT_NAME] == "cobot"
    (event,) = stage.events
    assert event.name == "decision: draft"
    keys = list(event.attributes or {})
    assert keys == sorted(keys)
    assert (event.attributes or {})[semconv.DECISION_WHAT] == '{"a":1}'
    assert [each.name for each in gate_span.events] == ["gen_ai.evaluation.result", "exception"]
    assert gate_span.status.status_code is trace.StatusCode.ERROR
    assert attributes(gate_span)[f"{semconv.SCORE_PREFIX}META-1"] == 1.0
    assert attributes(gate_span)[semconv.GATE_GAPS] == '["META-1"]'


def test_an_applications_limits_do_not_touch_the_document(provider: TracerProvider) -> None:
    """128 events a span for its exporters, all of them in the document, in order."""
    ire_otel.configure(tracer_provider=provider)
    with ire_otel.run(query="q"), ire_otel.stage("collection"):
        for number in range(1_000):
            ire_otel.decide("scored", what=number, why="each")
    made = document()
    assert [taken.what for taken in made.stages["collection"].decisions] == list(range(1_000))
    assert made.metadata.dropped is UNSET
    assert made.metadata.foreign_spans is UNSET


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF), TraceIdRatioBased(0.0)])
def test_sampling_never_loses_a_run_nor_what_is_inside_it(sampler: Any, exporter: InMemorySpanExporter) -> None:
    """Nothing goes to the application's exporters; the document has everything."""
    made = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    ire_otel.configure(tracer_provider=made)
    assert isinstance(made.sampler, RunSampler)
    with ire_otel.run(query="q"), ire_otel.stage("intake"):
        ire_otel.decide("kept", what=1, why="y")
        with made.get_tracer("app").start_as_current_span("llm call"):
            pass
    document_made = document()
    assert decisions(document_made, "intake") == ["kept"]
    assert document_made.metadata.records == 4  # run, stage, decision, the foreign span
    assert document_made.metadata.foreign_spans == "sampled"  # a tracer handed out earlier would have kept the sampler
    assert exporter.get_finished_spans() == ()


def test_foreign_spans_are_marked_from_where_they_run(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    """The ambient stage counts, even where a framework gives the span another parent."""
    ire_otel.configure(tracer_provider=provider)
    tracer = provider.get_tracer("framework")
    elsewhere = tracer.start_span("elsewhere")
    parent = trace.set_span_in_context(elsewhere, context.Context())
    with ire_otel.run(query="q") as run, ire_otel.stage("synthesis") as stage:
        tracer.start_span("reparented", parent).end()
    with tracer.start_as_current_span("outside"):
        pass
    spans = {span.name: attributes(span) for span in exporter.get_finished_spans()}
    assert spans["reparented"] == {semconv.RUN_ID: run.trace_id, semconv.STAGE_SPAN_ID: stage.span_id}
    assert spans["outside"] == {}


def test_without_an_ambient_run_a_span_takes_the_marks_of_its_parent(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """A thread without our context, whose spans are given an explicit parent."""
    ire_otel.configure(tracer_provider=provider)
    tracer = provider.get_tracer("framework")
    with ire_otel.run(query="q") as run, tracer.start_as_current_span("outer") as outer:
        parent = trace.set_span_in_context(outer, context.Context())
        thread = threading.Thread(target=lambda: tracer.start_span("inner", parent).end())
        thread.start()
        thread.join()
    assert {attributes(span).get(semconv.RUN_ID) for span in exporter.get_finished_spans()} == {run.trace_id}
    assert document().metadata.records == 3


def test_a_foreign_span_that_ends_after_its_run_is_still_counted(provider: TracerProvider) -> None:
    """The document is written again."""
    ire_otel.configure(tracer_provider=provider)
    with ire_otel.run(query="q"):
        late = provider.get_tracer("app").start_span("background")
    assert document().metadata.records == 1
    late.end()
    assert document().metadata.records == 2


def run_python(program: str, folder: Path) -> str:
    ended = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_an_implicit_first_run_leaves_the_global_provider_to_the_application(tmp_path: Path) -> None:
    """A later set_tracer_provider works, and later runs are traced there."""
    program = """
import ire_otel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
with ire_otel.run(query="first"): pass
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
assert trace.get_tracer_provider() is provider
with ire_otel.run(query="second"): pass
print([span.name for span in exporter.get_finished_spans()])
"""
    assert run_python(program, tmp_path) == "['research_run']\n"
    assert len(list(tmp_path.glob("brain/projects/*/_traces/*.json"))) == 2


def test_an_explicit_configure_sets_the_global_provider_where_there_is_none(tmp_path: Path) -> None:
    """Then spans of instrumentations are seen too."""
    program = """
import ire_otel
from opentelemetry import trace
ire_otel.configure()
with ire_otel.run(query="q") as run:
    with trace.get_tracer("app").start_as_current_span("llm"): pass
print(run.log.foreign[0].name)
"""
    assert run_python(program, tmp_path) == "llm\n"


def test_a_provider_without_span_processors_is_left_alone(tmp_path: Path) -> None:
    """One warning; the run is traced beside it."""
    program = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
import ire_otel
from opentelemetry import trace
trace.set_tracer_provider(trace.NoOpTracerProvider())
for query in "ab":
    with ire_otel.run(query=query): pass
"""
    said = run_python(program, tmp_path)
    assert said == "the tracer provider NoOpTracerProvider takes no span processors; runs are traced beside it\n"
    assert len(list(tmp_path.glob("brain/projects/*/_traces/*.json"))) == 2


def test_spans_that_nobody_reads_stay_empty(tmp_path: Path) -> None:
    """In a provider of ours, events go onto the spans once somebody else looks; the document has them anyway."""
    program = """
import ire_otel
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
ire_otel.configure()
exporter = InMemorySpanExporter()
for query in ("unread", "read"):
    with ire_otel.run(query=query, project_name="cobot") as run, ire_otel.stage("intake") as stage:
        ire_otel.decide("kept", what=1, why="y")
    print(len(stage.otel_span.events), len(run.to_dict()["stages"]["intake"]["decisions"]))
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
print(exporter.get_finished_spans()[0].events[0].name)
"""
    assert run_python(program, tmp_path) == "0 1\n1 1\ndecision: kept\n"
