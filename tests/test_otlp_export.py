"""The `otlp` exporter beside `ire`: what a peer receives over the wire makes the same document."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ire_otel
from ire_otel import assembly
from ire_otel_exporters.otlp import from_otlp
from tests.otlp_sink import Sink, receiving
from tests.runs import document


@pytest.fixture
def sink() -> Iterator[Sink]:
    with receiving() as server:
        yield server


def test_a_peer_receives_what_makes_the_same_document(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than the SDK keeps, odd values, re-runs, facts of stages that are not open."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
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


def test_the_same_by_grpc(tmp_path: Path) -> None:
    """otlp_protocol = "grpc", against a real gRPC server."""
    program = """
import os
from concurrent import futures
import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
import ire_otel

names = []

class Sink(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        scopes = [scope for one in request.resource_spans for scope in one.scope_spans]
        names.extend((span.name, len(span.events)) for scope in scopes for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

server = grpc.server(futures.ThreadPoolExecutor(2))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Sink(), server)
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
server.start()
ire_otel.configure(exporters=["ire", "otlp"], otlp_protocol="grpc")
with ire_otel.run(query="q"), ire_otel.stage("collection"):
    for number in range(200):
        ire_otel.decide("numbered", what=number, why="each")
assert ire_otel.flush(30)
server.stop(None)
print(sorted(names))
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "[('collection', 200), ('research_run', 0)]\n"
