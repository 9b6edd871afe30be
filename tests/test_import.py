"""`ire-otel import`: OTLP/JSON lines, Jaeger's download and its API, with all that is odd about them in the wild."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ire_otel import reader
from ire_otel.assembly import assemble, encode
from ire_otel.model import TraceDocument
from ire_otel.records import SpanRecord
from ire_otel_exporters import jaeger, otlp_files, otlp_json
from tests.receivers import RUN, as_json, root, stage
from tests.run_records import RUN_ID, TRACE_ID
from tests.runs import document, documents, stored_rows
from tests.sample_run import sample_run
from tests.test_cli import ire_otel


def expected() -> TraceDocument:
    """The document of the sample run, as it is after OTLP."""
    return reader.decode(encode(assemble(sample_run(), source="otlp")), "test")


def request(*records: SpanRecord) -> dict[str, Any]:
    return otlp_json.to_otlp_json(records or sample_run())


def spans_in(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [span for one in content["resourceSpans"] for scope in one["scopeSpans"] for span in scope["spans"]]


def test_lines_of_the_collectors_file_exporter(tmp_path: Path) -> None:
    """One span a line, in any order, twice, with log and metric lines in between: one document, one row."""
    lines = [otlp_json.line([span]) for span in reversed(sample_run())] * 2
    lines.insert(1, b'{"resourceLogs": []}\n')
    lines.insert(3, b'{"resourceMetrics": [{}]}\n\n')
    (tmp_path / "traces.jsonl").write_bytes(b"".join(lines))
    done = ire_otel(tmp_path, "import", "traces.jsonl")
    assert (done.code, done.err) == (0, "")
    assert "1 runs (0 from traces without one), 0 traces without any; 0 problems" in done.out
    assert document() == expected()
    assert [row["trace_id"] for row in stored_rows()] == [RUN_ID]


def test_what_cannot_be_read_is_named_and_the_rest_kept(tmp_path: Path) -> None:
    """A torn line, a span with a broken id, one without any, a line that is none of these: exit code 1."""
    content = request()
    broken = [{**spans_in(content)[1], "spanId": "no id"}, {"name": "nameless"}, "text", {"traceId": 5, "spanId": []}]
    content["resourceSpans"][0]["scopeSpans"][0]["spans"] += broken
    lines = ["{torn", json.dumps(content), '{"hello": 1}', "[1]", "null"]
    (tmp_path / "odd.jsonl").write_text("\n".join(lines), encoding="utf-8")
    done = ire_otel(tmp_path, "import", "odd.jsonl", "--json")
    assert done.code == 1
    report = json.loads(done.out)
    assert [run["trace_id"] for run in report["runs"]] == [RUN_ID]
    places = [problem.partition(": ")[0] for problem in report["problems"]]
    assert places == ["odd.jsonl:1", *["odd.jsonl:2"] * 4, "odd.jsonl:3", "odd.jsonl:4", "odd.jsonl:5"]
    assert document() == expected()


def test_odd_forms_of_otlp_json(tmp_path: Path) -> None:
    """Base64 and upper-case ids, names of enums, numbers for times, other outer keys, indented over many lines."""
    content = request()
    for number, span in enumerate(spans_in(content)):
        for name in ("traceId", "spanId", "parentSpanId"):
            if name in span:
                plain = span[name]
                span[name] = base64.b64encode(bytes.fromhex(plain)).decode() if number % 2 else plain.upper()
        span["kind"] = "SPAN_KIND_INTERNAL"
        span["startTimeUnixNano"] = int(span["startTimeUnixNano"])
    odd = {"result": {"batches": content["resourceSpans"]}}
    (tmp_path / "odd.json").write_text(json.dumps(odd, indent=1), encoding="utf-8")
    assert ire_otel(tmp_path, "import", "odd.json").code == 0
    assert document() == expected()


def jaeger_download(records: list[SpanRecord]) -> dict[str, Any]:
    """What the page of Jaeger 2 downloads of these spans: its own JSON, tags with types, microseconds."""

    def tags(attributes: Any) -> list[dict[str, Any]]:
        kinds = {bool: "bool", int: "int64", float: "float64", str: "string"}
        return [{"key": key, "type": kinds[type(value)], "value": value} for key, value in sorted(attributes.items())]

    def span(record: SpanRecord) -> dict[str, Any]:
        of_scope = {"otel.scope.name": record.scope_name or "", "span.kind": record.kind.lower()}
        parent = {"refType": "CHILD_OF", "traceID": record.trace_id, "spanID": record.parent_span_id}
        return {
            "traceID": record.trace_id.lstrip("0"),
            "spanID": record.span_id,
            "operationName": record.name,
            "references": [parent] if record.parent_span_id else [],
            "startTime": record.start_ns // 1000,
            "duration": ((record.end_ns or 0) - record.start_ns) // 1000,
            "tags": tags({**record.attributes, **of_scope}),
            "logs": [
                {"timestamp": event.time_ns // 1000, "fields": tags({"event": event.name, **event.attributes})}
                for event in record.events
            ],
            "processID": "p1",
            "warnings": None,
        }

    processes = {"p1": {"serviceName": "engine", "tags": []}}
    trace = {"traceID": TRACE_ID, "spans": [span(record) for record in records], "processes": processes}
    return {"data": [trace], "total": 0, "limit": 0, "offset": 0, "errors": None}


@pytest.mark.parametrize("indent", [None, 4])
def test_jaegers_download(tmp_path: Path, indent: int | None) -> None:
    """The same document; a span that is none is named."""
    content = jaeger_download(sample_run())
    content["data"][0]["spans"].append({"traceID": "zz"})
    (tmp_path / "jaeger.json").write_text(json.dumps(content, indent=indent), encoding="utf-8")
    done = ire_otel(tmp_path, "import", "jaeger.json")
    assert done.code == 1
    assert done.out.count("span 7: ") == 1
    assert document() == expected()


class Answering(BaseHTTPRequestHandler):
    """Jaeger's `/api/v3`, and answers that a real one seldom gives; tests/test_collector.py asks a real one."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answers: dict[str, Any] = {
            "/api/v3/services": {"services": ["engine"]},
            "/api/v3/traces": {"result": request()},
            f"/api/v3/traces/{TRACE_ID}": {"result": request()},
            "/api/v3/traces/torn": "text",
            "/api/v3/traces/many": ' {"result": {}}\n' * 100_000,
        }
        self.send_response(200 if path in answers else 404)
        self.end_headers()
        answer = answers.get(path)
        self.wfile.write(answer.encode() if isinstance(answer, str) else json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name that the base class gives it
        """Keep the test's output clean."""


@pytest.fixture
def jaeger_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("asked", [[], ["--service", "engine"], [TRACE_ID]])
def test_a_running_jaeger(tmp_path: Path, jaeger_url: str, asked: list[str]) -> None:
    """By trace id, by service, or all."""
    done = ire_otel(tmp_path, "import", "--jaeger", jaeger_url, *asked)
    assert (done.code, done.err) == (0, "")
    assert document() == expected()


def test_a_jaeger_that_does_not_answer_as_one(tmp_path: Path, jaeger_url: str) -> None:
    """A clear error, or the trace that is not there by name."""
    done = ire_otel(tmp_path, "import", "--jaeger", jaeger_url, "f" * 32)
    assert done.code == 1
    assert f"{jaeger_url} has no trace ffff" in done.out
    for url, said in (("localhost", "is no address of a Jaeger"), ("http://127.0.0.1:9", "is Jaeger up there?")):
        with pytest.raises(jaeger.JaegerError, match=said.replace("?", r"\?")):
            jaeger.services(url)
    with pytest.raises(jaeger.JaegerError, match="answers no JSON"):
        jaeger.trace(jaeger_url, "torn")


@pytest.mark.parametrize(
    "answer", [b"\x00\x00\x12\x04 of HTTP/2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"]
)
def test_another_server_than_jaeger_is_named(answer: bytes) -> None:
    """The port of OTLP/gRPC, say; an answer that is cut short."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def answered() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=answered)
        thread.start()
        with pytest.raises(jaeger.JaegerError, match="is it Jaeger's query port"):
            jaeger.services(url)
        thread.join()


def test_a_password_in_an_address_is_not_said() -> None:
    """It could not be used, and messages end up in logs."""
    with pytest.raises(jaeger.JaegerError, match="without user and password") as raised:
        jaeger.services("http://user:hunter2@localhost:16686")
    assert "hunter2" not in str(raised.value)


def test_many_answers_in_one(jaeger_url: str) -> None:
    """Jaeger sends one object after the other; the time they take grows with their number, not its square."""
    begun = time.perf_counter()
    assert len(jaeger.trace(jaeger_url, "many")) == 100_000
    assert time.perf_counter() - begun < 10


def test_a_run_id_that_is_a_path_writes_nothing(tmp_path: Path) -> None:
    """Files come from anywhere; what they name as a run must not choose which file of this machine is written."""
    (tmp_path / "evil.json").write_text("mine")
    given = as_json(root(run="../../../../evil"), stage("intake", run="../../../../evil"), root(trace=2))
    (tmp_path / "given.json").write_bytes(given)
    done = ire_otel(tmp_path, "import", "given.json")
    assert done.code == 1
    assert "2 spans whose ire.run.id is no run id" in done.out
    assert (tmp_path / "evil.json").read_text() == "mine"
    assert [made.trace_id for made in documents()] == [RUN]


def test_wrong_calls_end_with_2(tmp_path: Path) -> None:
    """No file, a mapping that is none; a file that is not there is 1."""
    assert ire_otel(tmp_path, "import").code == 2
    (tmp_path / "mapping.toml").write_text('stage = "x"', encoding="utf-8")
    done = ire_otel(tmp_path, "import", "x.json", "--mapping", "mapping.toml")
    assert done.code == 2
    assert "stages" in done.err
    assert ire_otel(tmp_path, "import", "missing.json").code == 1


def test_export_and_import_by_the_command_line(tmp_path: Path) -> None:
    """What `export` gives, `import` takes in another brain."""
    (tmp_path / "traces.jsonl").write_bytes(otlp_json.line(sample_run()))
    assert ire_otel(tmp_path, "import", "traces.jsonl").code == 0
    done = ire_otel(tmp_path, "export", RUN_ID, "--otlp")
    assert done.code == 0
    assert ire_otel(tmp_path, "export", "last", "-o", "exported.jsonl").code == 0
    assert (tmp_path / "exported.jsonl").read_text(encoding="utf-8") == done.out
    assert ire_otel(tmp_path, "import", "exported.jsonl", IRE_OTEL_BRAIN_DIR="other").code == 0
    (again,) = documents(tmp_path / "other")
    assert again.stages == document().stages
    assert again.run == document().run


def test_a_file_is_read_line_by_line_however_it_begins(tmp_path: Path) -> None:
    """An empty file, and one whose first line is torn."""
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"")
    assert list(otlp_files.read(path)) == []
    path.write_bytes(b'{"resourceSpans": [\n' + otlp_json.line(sample_run()))
    torn, whole = otlp_files.read(path)
    assert torn.problems == [f"{path}:1: no JSON; it is left out"]
    assert len(whole.records) == 6
