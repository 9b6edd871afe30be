"""The `otlp` exporter beside `ire`: what a peer receives over the wire makes the same document."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import ire_otel
from ire_otel import assembly
from ire_otel_exporters.otlp import from_otlp
from tests.runs import document


class Sink(ThreadingHTTPServer):
    """An OTLP/HTTP peer that keeps every request."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert isinstance(self.server, Sink)
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name that the base class gives it
        """Keep the test's output clean."""


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_peer_receives_what_makes_the_same_document(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than the SDK keeps, odd values, re-runs, facts of stages that are not open."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{sink.server_address[1]}")
    ire_otel.configure(exporters=["ire", "otlp"])
    with ire_otel.run(query="lone \ud800 surrogate", project_name="cobot", report_type="market_research") as trace:
        for number in range(2):
            with ire_otel.stage("collection") as stage:
                for step in range(200):
                    ire_otel.decide("scored", what=[number, step], why="each", inputs={"nan": float("nan"), "n": 2**70})
                stage.evidence(kept=[{"url": "u", "scores": {"composite": 0.5}}])
        trace.record("rubric", "rubric_loaded", {"what": '{"cut', "confidence": 1})
        trace.record_prompts("synthesis", {"system_prompt": "x" * 10_000})
        trace.record_iteration({"iteration": 1, "quality_gate_result": "FAIL"})
        trace.set_outputs({"report_path": "r.md"})
    assert ire_otel.flush(30)
    records = [record for request in sink.requests for record in from_otlp(request)]
    assert sorted(record.name for record in records) == ["collection", "collection #2", "research_run market_research"]
    received = assembly.encode(assembly.assemble(records, source="otlp"))
    assert received.replace(b'"source": "otlp"', b'"source": "runlog"') == assembly.encode(document())
