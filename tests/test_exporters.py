"""Exporters: chosen by configuration, each on its own thread, and ResearchExporter under any span processor."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ire_otel
from ire_otel import assembly, forwarding, semconv, settings
from ire_otel.processor import RunProcessor
from ire_otel.records import SpanRecord
from ire_otel.runlog import RunLog
from ire_otel_exporters.grouping import split_by_run
from ire_otel_exporters.research import ResearchExporter
from tests.run_records import run_span
from tests.runs import document, documents, rows


def reference_run(provider: TracerProvider | None = None) -> None:
    """A run with an LLM span in it, where a provider is given."""
    with ire_otel.run(query="q", project_name="cobot") as trace:
        with ire_otel.stage("intake"):
            ire_otel.decide("classified_intent", what="validating", why="y", confidence=0.5, inputs={"q": [1, None]})
        if provider is not None:
            with ire_otel.stage("synthesis"), provider.get_tracer("app").start_as_current_span("llm call"):
                pass
        trace.record("rubric", "rubric_loaded", {"what": ["META-1"]})
        with ire_otel.stage("quality_gate") as gate:
            gate.score("META-1", 2.5)
        trace.set_outputs({"report_path": "r.md"})


def test_of_runs_that_are_written_together_each_has_an_outcome_of_its_own(tmp_path: Path) -> None:
    """One whose file cannot be written takes nothing from those whose files are written before and after it."""
    logs: list[RunLog] = []
    for project in ("one", "two", "three"):
        with ire_otel.run(query="q", project_name=project) as trace:
            ire_otel.decide("chose", what=project, why="y")
        logs.append(trace.log)
    brain = tmp_path / "elsewhere"
    (brain / "projects").mkdir(parents=True)
    (brain / "projects" / "two").write_text("in the way")
    exporter = ResearchExporter(settings.load({"brain_dir": str(brain)}, environment={}))
    outcomes = exporter.export_records([record for log in logs for record in log.records()])
    exporter.shutdown()
    assert [outcome.trace_id for outcome in outcomes] == [log.run_id for log in logs]
    assert [outcome.file_error is None for outcome in outcomes] == [True, False, True]
    assert [outcome.row for outcome in outcomes] == ["saved"] * 3
    assert {made.project_name for made in documents(brain)} == {"one", "three"}


def test_under_a_plain_batch_processor_the_document_is_the_same(tmp_path: Path) -> None:
    """ResearchExporter without RunProcessor, as `OTEL_TRACES_EXPORTER=ire` makes it in another process."""
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(spans))
    ire_otel.configure(tracer_provider=provider)
    reference_run(provider)
    ire_otel.shutdown(30)
    in_process = document()
    elsewhere = settings.load({"brain_dir": str(tmp_path / "elsewhere"), "grace_period": 0.1}, environment={})
    exporter = ResearchExporter(elsewhere)
    provider.force_flush()
    for span in spans.get_finished_spans():  # the run's span comes last; so one by one, as batches cut them
        assert exporter.export([span]) is SpanExportResult.SUCCESS
    deadline = time.monotonic() + 10
    while not (made := documents(tmp_path / "elsewhere")) and time.monotonic() < deadline:
        time.sleep(0.05)
    (of_spans,) = made
    assert of_spans.metadata.source == "sdk"
    assert assembly.encode(of_spans).replace(b'"source": "sdk"', b'"source": "runlog"') == assembly.encode(in_process)
    exporter.shutdown()
    assert [row["trace_id"] for row in rows(tmp_path / "elsewhere")] == [in_process.trace_id]


def test_an_exporter_made_by_name_stays_passive_beside_the_run_processor(tmp_path: Path) -> None:
    """OTEL_TRACES_EXPORTER=ire and RunProcessor in one process: one document, one writer."""
    program = """
import os
from opentelemetry.sdk._configuration import _initialize_components
_initialize_components()
import ire_otel
with ire_otel.run(query="q"):
    ire_otel.decide("x", what=1, why="y")
from opentelemetry import trace
trace.get_tracer_provider().force_flush()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "ire", "OTEL_METRICS_EXPORTER": "none"},
    )
    assert ended.returncode == 0, ended.stderr
    assert document().metadata.source == "runlog"
    assert len(rows()) == 1


def test_a_run_whose_own_span_never_comes_is_written_at_the_end() -> None:
    """Flush settles it as incomplete."""
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(spans))
    ire_otel.configure(tracer_provider=provider, exporters=["none"])
    reference_run()
    ire_otel.shutdown(30)
    provider.force_flush()
    exporter = ResearchExporter(settings.load(environment={}))
    exporter.export([span for span in spans.get_finished_spans() if span.parent is not None])
    assert not Path("brain/projects").exists()
    exporter.shutdown()
    made = document()
    assert made.run.status == "incomplete"
    assert "intake" in made.stages


class Refusing(SpanExporter):
    """An exporter that always fails, slowly."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        time.sleep(0.2)
        raise RuntimeError("collector is down")


def test_one_failing_exporter_starves_no_other() -> None:
    """Each has a thread of its own; the run notices nothing."""
    good = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    processor = RunProcessor(lambda _log: None, lambda run_id, _: RunLog(run_id, "p", {}))
    for exporter in (Refusing(), good):
        complete = forwarding.CompleteSpanExporter(exporter, processor, ())
        provider.add_span_processor(forwarding.ForwardingProcessor(complete))
    ire_otel.configure(tracer_provider=provider)
    started = time.perf_counter()
    reference_run()
    assert time.perf_counter() - started < 0.2
    made = document()
    provider.force_flush()
    assert len(good.get_finished_spans()) == 3
    assert made.run.status == "complete"
    provider.shutdown()


def test_other_exporters_get_complete_spans_in_batches_that_a_collector_takes() -> None:
    """More events than the SDK keeps, and never more than 3 MiB at once."""
    batches: list[list[ReadableSpan]] = []

    class Keeping(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            batches.append(list(spans))
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    runtime_processor = RunProcessor(lambda _log: None, lambda run_id, _: RunLog(run_id, "p", {}))
    complete = forwarding.CompleteSpanExporter(Keeping(), runtime_processor, ())
    ire_otel.configure(tracer_provider=provider)
    with ire_otel.run(query="q") as trace:
        runtime_processor.opened(trace.log)
        for number in range(3):
            with ire_otel.stage(f"stage_{number}") as stage:
                stage.prompts(system_prompt="x" * 1_500_000)
                for step in range(300):
                    stage.decide("step", what=step, why="y")
                spans = [stage.otel_span]
            complete.export(spans)  # type: ignore[arg-type] # an SDK span behind the API's type
    complete.export([span for batch in batches for span in batch])
    assert [len(batch) for batch in batches] == [1, 1, 1, 1, 1, 1]
    assert all(len(span.events) == 300 for batch in batches for span in batch)


def test_console_is_an_exporter_like_any_other(tmp_path: Path) -> None:
    """Exporters = ["ire", "console"]: file, row and JSON on standard output."""
    program = """
import ire_otel
ire_otel.configure(exporters=["ire", "console"])
with ire_otel.run(query="q"):
    ire_otel.decide("x", what=1, why="y")
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "decision: x" in ended.stdout
    assert document().run.query == "q"


def test_steps_run_before_anything_is_written(caplog: pytest.LogCaptureFixture) -> None:
    """A user's own function may change a span or drop it; one that fails lets no text through."""
    import msgspec

    def shout(record: SpanRecord) -> SpanRecord | None:
        if record.attributes.get(semconv.STAGE_NAME) == "secret":
            return None
        if record.attributes.get(semconv.STAGE_NAME) == "broken":
            raise RuntimeError("step")
        query = str(record.attributes.get(semconv.RUN_QUERY, ""))
        return msgspec.structs.replace(record, attributes={**record.attributes, semconv.RUN_QUERY: query.upper()})

    ire_otel.configure(steps=[shout])
    with ire_otel.run(query="quiet"):
        for name in ("secret", "broken", "open"):
            with ire_otel.stage(name) as stage:
                stage.set_outputs({"text": name})
                stage.decide("d", what="some text", why="other text")
    made = document()
    assert made.run.query == "QUIET"
    assert "secret" not in made.stages
    assert made.stages["open"].outputs == {"text": "open"}
    assert "withheld" in str(made.stages["broken"].outputs)
    assert "text" not in str(made.stages["broken"].decisions[0].what)
    assert "step" in caplog.text


def test_the_row_agrees_with_the_file_in_every_column() -> None:
    """What the database holds of a run is what its file says."""
    import msgspec

    from ire_otel.row import RunRow, row

    reference_run()
    made = document()
    (stored,) = rows()
    expected = row(made, stored["trace_file_path"]).run
    for field in msgspec.structs.fields(RunRow):
        said = getattr(expected, field.name)
        kept = stored[field.name]
        if isinstance(said, dict | list):
            kept = json.loads(kept)
        elif isinstance(said, datetime):
            kept = datetime.fromisoformat(kept)
        assert kept == said, field.name


def test_a_poorer_view_of_a_run_changes_neither_file_nor_row(tmp_path: Path) -> None:
    """A second exporter that saw only some of the spans comes too late."""
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(spans))
    ire_otel.configure(tracer_provider=provider)
    reference_run(provider)
    (before,), whole = rows(), document()
    ire_otel.shutdown(30)
    provider.force_flush()
    exporter = ResearchExporter(settings.load(environment={}))
    exporter.export([span for span in spans.get_finished_spans() if span.parent is None])
    exporter.shutdown()
    assert document() == whole
    (after,) = rows()
    assert {**after, "updated_at": None} == {**before, "updated_at": None}


def test_copies_of_a_span_that_name_different_runs_cost_neither_run() -> None:
    """Which of them it belongs to is decided once."""
    one = run_span()
    named = {**one.attributes, semconv.RUN_ID: "trc_20260213_0000000000000001"}
    other = msgspec.structs.replace(one, end_ns=None, attributes=named)
    for records in ([one, other], [other, one]):
        (run_id,) = split_by_run(records)
        assert run_id == one.attributes[semconv.RUN_ID]
        assert assembly.assemble(records, run_id=run_id).trace_id == run_id
