"""A receiver in a process of its own, and senders, for the tests of `ire-otel serve`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ire_otel import reader
from ire_otel.model import TraceDocument

COMMAND: Final = Path(sys.executable).with_name("ire-otel")
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Answer(msgspec.Struct, frozen=True):
    """What the receiver answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Serving:
    """A running `ire-otel serve`."""

    def __init__(self, process: subprocess.Popen[str], grpc: str, http: str) -> None:
        self.process = process
        self.grpc = grpc
        self.http = http
        self.said = ""
        """What it logged, once it has stopped."""

    def post(self, body: bytes, content_type: str = PROTOBUF, **headers: str) -> Answer:
        """Send a body. headers: with underscores for dashes."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return asked(f"{self.http}/v1/traces", body, {"Content-Type": content_type, **given})

    def get(self, path: str) -> Answer:
        return asked(f"{self.http}{path}", None, {})

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        """Stop it gracefully; gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.said += self.process.communicate(timeout=60)[1]
        return self.process.returncode


def asked(url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    request = Request(url, body, dict(headers))  # noqa: S310 # an address of this test's
    try:
        with urlopen(request, timeout=60) as response:  # noqa: S310 # as above
            return Answer(response.status, dict(response.headers), response.read())
    except HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, dict(refusal.headers), refusal.read())


@contextmanager
def serving(brain: Path, *options: str, **environment: Any) -> Iterator[Serving]:
    """Serve while the block runs; settings as keyword arguments."""
    given = {"grace_period": 0.2, "brain_dir": brain, **environment}
    variables = {f"IRE_OTEL_{name.upper()}": str(value) for name, value in given.items()}
    process = subprocess.Popen(
        [COMMAND, "serve", "--grpc-port", "0", "--http-port", "0", *options],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"gRPC on (\S+), OTLP/HTTP on (\S+)/v1/traces", line)
    if found is None:
        raise AssertionError(process.communicate()[1])
    server = Serving(process, found[1], found[2])
    try:
        yield server
    finally:
        if process.poll() is None:
            server.stop()


def written(brain: Path) -> dict[str, TraceDocument]:
    """Give the documents in a brain folder, by run."""
    files = brain.glob("projects/*/_traces/trc_*.json")
    return {file.stem: reader.decode(file.read_bytes(), str(file)) for file in files}


RUN: Final = "trc_20260213_00000000000000aa"


def request(*spans: Mapping[str, Any]) -> dict[str, Any]:
    """Give an OTLP/JSON request."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "engine"}}]}
    scope = {"name": "ire_otel"}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": list(spans)}]}]}


def span(name: str, number: int, *, trace: int = 1, run: str = RUN, **attributes: str) -> dict[str, Any]:
    """Give a span of a run; `research_run` with number 0xaa is the run's own."""
    said = {"ire.run.id": run, "ire.project.name": "cobot", **attributes}
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": "" if name == "research_run" else "00000000000000aa",
        "name": name,
        "startTimeUnixNano": "1770000000000000000",
        "endTimeUnixNano": "1770000001000000000",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in said.items()],
    }


def root(**changes: Any) -> dict[str, Any]:
    """Give a run's own span."""
    return span("research_run", 0xAA, **changes)


def stage(name: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    """Give the span of a stage."""
    return span(name, number, **{"ire.stage.name": name, **changes})


def as_json(*spans: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(request(*spans))


def as_protobuf(*spans: Mapping[str, Any]) -> bytes:
    from ire_otel_exporters.otlp import parse_json

    made: ExportTraceServiceRequest = parse_json(request(*spans))
    return made.SerializeToString()
