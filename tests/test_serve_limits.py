"""What `ire-otel serve` does not take: how senders learn whether to stop or to try again, and that it goes on."""

import asyncio
import base64
import gzip
import json
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

import ire_otel
from ire_otel import settings as ire_otel_settings
from ire_otel.assembly.selection import is_run_span
from ire_otel.errors import ConfigurationError
from ire_otel.server.access import access_check, checked_address
from ire_otel.server.assembler import Assembler
from ire_otel.server.bodies import inflate, take
from ire_otel.server.receiver import Limits, Receiver
from ire_otel.server.refusals import MalformedError, RefusedError, TooLargeError, UnauthenticatedError
from ire_otel_exporters.research import ResearchExporter
from tests.receivers import (
    COMMAND,
    EXPORT,
    JSON,
    PROTOBUF,
    RUN,
    Serving,
    as_json,
    as_protobuf,
    root,
    serving,
    stage,
    written,
)
from tests.runs import documents, wait_until

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("receiver") / "brain"


@pytest.fixture(scope="module")
def server(brain: Path) -> Iterator[Serving]:
    """One receiver for all tests of this file: whatever it is sent, it goes on."""
    with serving(brain, "--max-body", "1") as running:
        yield running
        assert running.stop() == 0
        assert "Traceback" not in running.said, running.said


def called(server: Serving, message: bytes, **options: Any) -> tuple[grpc.StatusCode, Status]:
    """Send a message over gRPC; gives the answer's code and details."""
    with grpc.insecure_channel(server.grpc) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        try:
            export(message, timeout=60, **options)
        except grpc.RpcError as refusal:
            call: Any = refusal  # the stubs do not know that it is a grpc.Call as well
            details = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
            return call.code(), Status.FromString(cast("bytes", details))
    return grpc.StatusCode.OK, Status()


def test_answers_come_in_the_form_of_the_request(server: Serving) -> None:
    """Success and errors, protobuf and JSON."""
    done = server.post(as_json(stage("intake")), f"{JSON}; charset=utf-8")
    assert (done.status, done.headers["content-type"], json.loads(done.body)) == (200, JSON, {})
    done = server.post(b"")
    assert (done.status, done.headers["content-type"]) == (200, PROTOBUF)
    assert ExportTraceServiceResponse.FromString(done.body) == ExportTraceServiceResponse()
    refused = server.post(b"{", JSON)
    assert (refused.status, json.loads(refused.body)["code"]) == (400, 3)
    refused = server.post(b"\xff\xff")
    assert (refused.status, Status.FromString(refused.body).code) == (400, 3)
    assert called(server, b"\xff\xff")[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_unknown_forms_paths_and_methods(server: Serving) -> None:
    assert server.post(b"x", "text/plain").status == 415
    assert server.post(b"x", Content_Encoding="br").status == 415
    assert server.get("/v1/traces").status == 405
    assert server.get("/v1/logs").status == 404
    assert (server.get("/healthz").status, server.get("/readyz").status) == (200, 200)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_bombs_and_large_bodies_are_refused(server: Serving, compress: Any) -> None:
    """100 MB of zeros in 100 KB; what is too large as it is; what is cut short."""
    encoding = "gzip" if compress is gzip.compress else "deflate"
    bomb = compress(bytes(100 * MIB))
    assert server.post(bomb, Content_Encoding=encoding).status == 413
    assert server.post(bytes(MIB + 1)).status == 413
    assert server.post(compress(as_protobuf(root()))[:-9], Content_Encoding=encoding).status == 400
    assert server.post(b"no such thing", Content_Encoding=encoding).status == 400
    assert peak_kib(server) < 300 * 1024


def peak_kib(server: Serving) -> int:
    """Give the most memory that it has had; 0 where the system does not say."""
    status = Path(f"/proc/{server.process.pid}/status")
    said = status.read_text() if status.exists() else ""
    return next((int(line.split()[1]) for line in said.splitlines() if line.startswith("VmHWM")), 0)


def test_bombs_and_large_messages_over_grpc(server: Serving) -> None:
    """Senders stop: RESOURCE_EXHAUSTED without a delay."""
    code, status = called(server, bytes(100 * MIB), compression=grpc.Compression.Gzip)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not status.details
    assert called(server, bytes(2 * MIB))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_spans_that_cannot_be_taken_cost_no_others(server: Serving, brain: Path) -> None:
    """Ids that are none, and run ids that would be paths, are left out and counted."""
    run = "trc_20260213_0000000000000001"
    bad = [
        {**stage("a"), "traceId": ""},
        {**stage("b"), "spanId": "zzzz-not-an-id"},
        stage("c", run="../../../../evil"),
    ]
    own = {**root(run=run, trace=7), "spanId": "0000000000000001"}
    said = json.loads(server.post(as_json(*bad, own), JSON).body)["partialSuccess"]
    assert said["rejectedSpans"] == "3"
    assert "ire.run.id" in said["errorMessage"]
    wait_until(lambda: run in written(brain))
    assert not list(brain.parent.rglob("*evil*"))


def test_what_spans_share_does_not_multiply() -> None:
    """A resource of 0.5 MB and a span in each of many traces: stored for each, so refused when it becomes too much."""
    spans = [stage("s", trace=number + 1) for number in range(1000)]
    request = json.loads(as_json(*spans))
    request["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"] = "x" * (MIB // 2)
    with pytest.raises(TooLargeError, match="each with what they share"):
        take(json.dumps(request).encode(), "json", MIB, is_run_span)


@given(st.binary(max_size=2000), st.integers(1, 100))
def test_decompression_gives_what_was_compressed_or_refuses_it(content: bytes, limit: int) -> None:
    """Never more than the limit, in one gzip member or several."""
    for body in (gzip.compress(content), gzip.compress(content[:7]) + gzip.compress(content[7:])):
        if len(content) <= limit:
            assert inflate(body, limit) == content
        else:
            with pytest.raises(TooLargeError):
                inflate(body, limit)


def test_endless_members_are_refused() -> None:
    with pytest.raises(MalformedError, match="gzip members"):
        inflate(gzip.compress(b"") * 2000, MIB)


VALID = as_protobuf(root(), stage("intake"))


@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_a_damaged_body_is_taken_or_refused(changes: list[tuple[int, int]]) -> None:
    """It is never another kind of error."""
    body = bytearray(VALID)
    for place, value in changes:
        body[place] = value
    try:
        ExportTraceServiceRequest.FromString(bytes(body))
    except DecodeError:
        with pytest.raises(RefusedError):
            take(bytes(body), "protobuf", MIB, is_run_span)
    else:
        take(bytes(body), "protobuf", MIB, is_run_span)


@given(
    st.sampled_from([PROTOBUF, JSON, "text/plain", ""]),
    st.sampled_from(["", "gzip", "deflate", "identity", "br"]),
    st.one_of(
        st.binary(max_size=200),
        st.integers(0, len(VALID)).map(lambda end: VALID[:end]),
        st.text(max_size=50).map(str.encode),
        st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3))
        .map(lambda value: json.dumps({"resourceSpans": value}).encode()),
    ),
)  # fmt: skip
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_it_goes_on(server: Serving, content_type: str, encoding: str, body: bytes) -> None:
    """Each body is answered with a status of OTLP, and the receiver stays healthy."""
    assert server.post(body, content_type, Content_Encoding=encoding).status in {200, 400, 413, 415}
    assert server.get("/healthz").status == 200


def test_a_sender_that_is_alone_is_never_told_to_come_again(tmp_path: Path) -> None:
    """However much more its spans take up than their request: nothing would be different the next time."""
    body = as_protobuf(*(stage("s", number) for number in range(1, 6000)))
    chosen = ire_otel_settings.Settings(brain_dir=tmp_path)
    exporter = ResearchExporter(chosen)
    assembler = Assembler(chosen, exporter, 64 * MIB, None)
    receiver = Receiver(assembler, Limits(body=MIB, in_flight=MIB), None)
    assembler.start()

    async def sent() -> ExportTraceServiceResponse:
        with receiver.holding() as held:
            held.add(len(body))
            return await receiver.take(body, "protobuf", held, compressed=False)

    try:
        assert asyncio.run(sent()) == ExportTraceServiceResponse()
    finally:
        receiver.close()
        assembler.stop(10)
        exporter.shutdown()
    assert receiver.in_flight == 0


def test_a_connection_outlives_the_pause_between_two_batches(server: Serving) -> None:
    """Batches go out every five seconds; a connection that is closed just then costs one of them."""
    connection = HTTPConnection(server.http.removeprefix("http://"))
    for pause in (6, 0):
        connection.request("POST", "/v1/traces", b"", {"Content-Type": PROTOBUF})
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        socket_used = connection.sock
        time.sleep(pause)
    assert connection.sock is socket_used
    connection.close()


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(1, 2**60))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_time_makes_a_document(server: Serving, brain: Path, start: int, end: int, number: int) -> None:
    """Clocks that are wrong by centuries do not keep a run from being written."""
    run = f"trc_20260213_{number:016x}"
    own = {**root(run=run, trace=number), "startTimeUnixNano": str(start), "endTimeUnixNano": str(end or 1)}
    assert server.post(as_json({**own, "spanId": f"{number:016x}"}), JSON).status == 200
    wait_until(lambda: run in written(brain))


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    """Of both protocols; health is for everybody, and no log names the token."""
    token = "correct-horse-battery"  # noqa: S105 # of this test
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    with serving(tmp_path / "there", "--host", "0.0.0.0", "--token-file", str(file)) as server:  # noqa: S104 # what is tested
        server.grpc = server.grpc.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 # as above
        server.http = server.http.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 # as above
        basic = base64.b64encode(b"user:password").decode()
        for wrong in ("", "Bearer", "Bearer wrong", f"Basic {basic}", token):
            refused = server.post(as_protobuf(root()), Authorization=wrong)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert called(server, as_protobuf(root()))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert server.post(as_protobuf(root()), Authorization=f"Bearer {token}").status == 200
        metadata = (("authorization", f"Bearer {token}"),)
        assert called(server, as_protobuf(stage("intake")), metadata=metadata)[0] is grpc.StatusCode.OK
        assert server.get("/healthz").status == 200
        with ThreadPoolExecutor(16) as senders:
            answers = senders.map(lambda _: called(server, bytes(19 * MIB)), range(32))
            assert {code for code, _ in answers} == {grpc.StatusCode.UNAUTHENTICATED}
        assert peak_kib(server) < 300 * 1024  # what they sent was not read
        server.stop()
        assert token not in server.said
    assert RUN in written(tmp_path / "there")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_every_address_is_every_address_of_both_protocols(tmp_path: Path) -> None:
    """`::` takes IPv4, too, over HTTP as over gRPC."""
    file = tmp_path / "token"
    file.write_text("token")
    with serving(tmp_path / "there", "--host", "::", "--token-file", str(file)) as server:
        ports = [address.rpartition(":")[2] for address in (server.grpc, server.http)]
        for host in ("127.0.0.1", "[::1]"):
            server.grpc, server.http = f"{host}:{ports[0]}", f"http://{host}:{ports[1]}"
            assert server.post(as_protobuf(root()), Authorization="Bearer token").status == 200
            metadata = (("authorization", "Bearer token"),)
            assert called(server, as_protobuf(root()), metadata=metadata)[0] is grpc.StatusCode.OK


def test_beyond_loopback_without_a_token_it_does_not_start() -> None:
    """Exit code 2 and the remedy; loopback is loopback however it is written."""
    ended = subprocess.run([COMMAND, "serve", "--host", "0.0.0.0"], capture_output=True, text=True, check=False)  # noqa: S104 # what is tested
    assert ended.returncode == 2
    assert "set IRE_OTEL_SERVE_TOKEN or --token-file" in ended.stderr
    for host in ("127.0.0.1", "localhost", "127.0.0.9"):
        assert checked_address(host, None)
    with pytest.raises(ConfigurationError, match="cannot be found"):
        checked_address("no.such.host.invalid", None)
    with pytest.raises(ConfigurationError, match="cannot be found: it is no name"):
        checked_address(f"{'a' * 64}.invalid", None)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_only_the_token_passes(given_token: str) -> None:
    check = access_check("the-token")
    if given_token.strip() != "the-token":
        with pytest.raises(UnauthenticatedError):
            check(f"Bearer {given_token}")
    check("bearer the-token")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_back_pressure_and_the_exporters_own_retry(
    tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full inbox answers 503 and UNAVAILABLE; when there is room again, the real exporter's retry succeeds."""
    there = tmp_path / "there"
    full = stage("collection", text="x" * (MIB + 1))
    with serving(there, "--max-inbox", "1", incomplete_after=3) as server:
        assert server.post(as_json(full), JSON).status == 200
        refused = server.post(as_json(root()), JSON)
        assert (refused.status, refused.headers["retry-after"], json.loads(refused.body)["code"]) == (503, "1", 14)
        assert server.get("/readyz").status == 503
        assert server.get("/healthz").status == 200
        code, status = called(server, as_protobuf(root()))
        assert code is grpc.StatusCode.UNAVAILABLE
        (detail,) = status.details
        retry = RetryInfo()
        assert detail.Unpack(retry)
        assert retry.retry_delay.seconds == 1
        endpoint = f"http://{server.grpc}" if protocol == "grpc" else server.http
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        ire_otel.configure(exporters=["ire", "otlp"], otlp_protocol=protocol)
        with ire_otel.run(query="q", project_name="cobot"), ire_otel.stage("intake"):
            pass
        (here,) = documents()
        wait_until(lambda: here.trace_id in written(there))
        assert written(there)[here.trace_id].run.status == "complete"
        assert written(there)[RUN].run.status == "incomplete"
