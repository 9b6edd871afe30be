"""One failing exporter never starves another, nor the run."""

import multiprocessing
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ire_otel
from ire_otel import forwarding
from ire_otel.forwarding import CompleteSpanExporter
from ire_otel.processor import RunProcessor
from ire_otel.records import EventRecord, LinkRecord, SpanRecord
from ire_otel.runlog import RunLog
from ire_otel.sdk_spans import to_readable
from ire_otel_exporters import json_file
from ire_otel_exporters.otlp import from_otlp_json
from tests.runs import document

RUNS = 50


class Blocking(SpanExporter):
    """Never comes back."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        threading.Event().wait()
        return SpanExportResult.SUCCESS


class Raising(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("collector is down")


def test_a_good_exporter_beside_one_that_blocks_and_one_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets every span; flush and shutdown keep to their time; what the others lost is counted."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
    knows = RunProcessor(lambda _log: None, lambda run_id, _: RunLog(run_id, "p", {}))
    good, blocking = InMemorySpanExporter(), Blocking()
    complete = [forwarding.CompleteSpanExporter(one, knows, ()) for one in (blocking, Raising(), good)]
    processors = [forwarding.ForwardingProcessor(one) for one in complete]
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    ire_otel.configure(tracer_provider=provider)
    for number in range(RUNS):
        with ire_otel.run(query=str(number)), ire_otel.stage("intake"):
            pass
        if number % 10 == 9:  # the good one keeps up
            begun = time.monotonic()
            assert not forwarding.flush(processors, 0.5)
            assert time.monotonic() - begun < 5
    assert blocking.asked.is_set()
    begun = time.monotonic()
    forwarding.shutdown(processors, 0.5)
    assert time.monotonic() - begun < 5
    stuck, raising, fine = processors
    assert len(good.get_finished_spans()) == fine.complete.exported == 2 * RUNS
    assert (fine.complete.refused, fine.unsent) == (0, 0)
    assert (raising.complete.exported, raising.complete.refused, raising.unsent) == (0, 2 * RUNS, 0)
    assert (stuck.complete.exported, stuck.complete.refused, stuck.unsent) == (0, 0, 2 * RUNS)


def test_an_exporter_that_cannot_be_made_costs_the_run_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OTLP over gRPC with credentials that are not there; the file and the trace file are written."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "no such compression")
    ire_otel.configure(exporters=["ire", "otlp", "otlp-json-file"], otlp_protocol="grpc")
    with ire_otel.run(query="q"):
        pass
    assert document().run.query == "q"
    assert "exporter 'otlp' cannot be made" in caplog.text
    assert len(Path("brain/spans.jsonl").read_bytes().splitlines()) == 1


def test_an_unknown_exporter_in_a_running_pipeline_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, with the nearest name; the rest of the list holds."""
    monkeypatch.setenv("IRE_OTEL_EXPORTERS", "ire,otlp-json-fiel,otlp-json-file")
    with ire_otel.run(query="q"):
        pass
    assert document().run.query == "q"
    assert caplog.text.count("did you mean 'otlp-json-file'?") == 1
    assert Path("brain/spans.jsonl").exists()


def test_several_processes_append_to_one_file(tmp_path: Path) -> None:
    """No line is torn by another process's, however long it is."""
    path = tmp_path / "spans.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(path, str(number))) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = path.read_bytes().splitlines()
    assert len(lines) == 4 * 25
    assert {len(set(line)) for line in lines} == {1}


def _append(path: Path, letter: str) -> None:
    for _ in range(25):
        json_file.append(path, (letter * 300_000 + "\n").encode())


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line in the log; the run and its own file are as ever."""
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    ire_otel.configure(exporters=["ire", "otlp-json-file"], otlp_json_file=tmp_path / "file" / "spans.jsonl")
    with ire_otel.run(query="q"):
        pass
    assert document().run.query == "q"
    assert f"1 spans were not written to {tmp_path}/file/spans.jsonl" in caplog.text


def test_the_file_holds_what_makes_the_same_document() -> None:
    """OTLP-JSON lines, ids in hex."""
    from ire_otel import assembly

    ire_otel.configure(exporters=["ire", "otlp-json-file"])
    with ire_otel.run(query="lone \ud800", project_name="cobot"), ire_otel.stage("collection") as stage:
        for number in range(300):
            stage.decide("scored", what=[number], why="y", inputs={"nan": float("nan"), "n": 2**70})
        stage.score("META-1", 2.5)
    made = document()
    lines = Path("brain/spans.jsonl").read_bytes().splitlines()
    records = [record for line in lines for record in from_otlp_json(line)]
    assert made.metadata.otel_trace_id in lines[0].decode()
    again = assembly.encode(assembly.assemble(records, source="otlp"))
    assert again.replace(b'"source": "otlp"', b'"source": "runlog"') == assembly.encode(made)


class Keeping(SpanExporter):
    """Keeps the batches that it is given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.sizes.append(encode_spans(spans).ByteSize())
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize(
    "value",
    ["\u77e5\u8bc6" * 15_000, [0.5] * 3072, ["a word"] * 4000, {"inner": [{"text": "x" * 20_000}]}, b"\0" * 30_000],
    ids=["text beyond ASCII", "an embedding", "many words", "nested", "bytes"],
)
@pytest.mark.parametrize("where", ["span", "event", "link"])
def test_no_batch_is_larger_than_a_collector_takes(value: Any, where: str) -> None:
    """4 MiB, in bytes and not in letters, whatever kinds of values the spans hold; else all of it would be refused."""
    attributes = {"said": value}
    event, link = (
        EventRecord(name="e", time_ns=1, attributes=attributes),
        LinkRecord(trace_id="1" * 32, span_id="2" * 16, attributes=attributes),
    )
    spans = [
        to_readable(
            SpanRecord(
                trace_id="1" * 32,
                span_id=f"{number:016x}",
                start_ns=1,
                end_ns=2,
                attributes=attributes if where == "span" else {},
                events=(event,) if where == "event" else (),
                links=(link,) if where == "link" else (),
            )
        )
        for number in range(1, 301)
    ]
    inner = Keeping()
    assert CompleteSpanExporter(inner, None, ()).export(spans) is SpanExportResult.SUCCESS
    assert len(inner.sizes) > 1
    assert max(inner.sizes) < 4 * 1024 * 1024
