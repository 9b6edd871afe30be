"""The real Collector, as collector-config.yaml has it, before a real Jaeger and `ire-otel serve`: what comes where."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import yaml

import ire_otel
from ire_otel.model import TraceDocument
from tests.children import Child
from tests.databases import free_port
from tests.peers.running import ROOT, Collector, Jaeger, Peer, collecting, needs_peers
from tests.planted_secrets import PLANTED
from tests.receivers import (
    COMMAND,
    EXPORT,
    JSON,
    RUN,
    Serving,
    as_json,
    as_protobuf,
    asked,
    root,
    serving,
    stage,
    written,
)
from tests.relayed_runs import record_runs, run_demo, same_as_here
from tests.runs import documents, wait_until
from tests.test_redaction_everywhere import found_in

pytestmark = [needs_peers, pytest.mark.slow]
TRACE: Final = f"{1:032x}"
TOKEN: Final = "of-these-tests-7f3a"  # noqa: S105 # of a receiver that lives as long as its test


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """One for all tests: each has traces of its own."""
    running = Jaeger(tmp_path_factory.mktemp("jaeger"))
    yield running
    running.peer.kill()  # what it holds is in memory, and its own stop takes 20 s


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Give the brain folder of the receiver's machine."""
    return tmp_path / "there"


@pytest.fixture
def server(there: Path) -> Iterator[Serving]:
    with serving(there, serve_token=TOKEN) as running:
        yield running


@pytest.fixture
def collector(tmp_path: Path, server: Serving, jaeger: Jaeger) -> Iterator[Collector]:
    with collecting(tmp_path / "queues", targets(server, jaeger)) as running:
        yield running


def targets(server: Serving, jaeger: Jaeger) -> dict[str, str]:
    return {"SERVE_ENDPOINT": server.grpc, "JAEGER_ENDPOINT": jaeger.otlp, "IRE_OTEL_SERVE_TOKEN": TOKEN}


def decided_in(spans: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """Count the decisions in Jaeger's JSON, by stage and type."""
    events = [{field["key"]: field["value"] for field in log["fields"]} for span in spans for log in span["logs"]]
    decisions = [event for event in events if "ire.decision.type" in event]
    return Counter((event.get("ire.stage.name", "run"), event["ire.decision.type"]) for event in decisions)


def decided_by(made: list[TraceDocument]) -> Counter[tuple[str, str]]:
    """Count the decisions of documents, by stage and type."""
    return Counter(
        (name, taken.decision) for one in made for name, stage in one.stages.items() for taken in stage.decisions
    )


def same_in_jaeger(jaeger: Jaeger, made: list[TraceDocument]) -> None:
    """Wait until Jaeger has every decision of these runs, once."""
    trace_ids = {str(one.metadata.otel_trace_id) for one in made}
    assert decided_by(made)

    def of_jaeger() -> Counter[tuple[str, str]]:
        return sum((decided_in(jaeger.spans(trace_id)) for trace_id in trace_ids), Counter())

    wait_until(lambda: of_jaeger() == decided_by(made))


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_runs_arrive_in_jaeger_and_as_documents(
    collector: Collector, there: Path, jaeger: Jaeger, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's and odd ones: the same documents as here, and every stage and decision in Jaeger's query API."""
    address = collector.grpc if protocol == "grpc" else collector.http
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_SERVICE_NAME", f"engine-{protocol[:4]}")
    monkeypatch.setenv("IRE_OTEL_EXPORTERS", "ire,otlp")
    run_demo()
    ire_otel.configure()
    record_runs()
    same_as_here(there, runs=4)
    same_in_jaeger(jaeger, documents())
    demo = [one for one in documents() if one.project_name == "demo"]
    for one in demo:
        tags = [tag for span in jaeger.spans(str(one.metadata.otel_trace_id)) for tag in span["tags"]]
        stages = {tag["value"] for tag in tags if tag["key"] == "ire.stage.name"}
        assert stages == set(one.stages) - {"run"}
    found = jaeger.search(f"engine-{protocol[:4]}", {"ire.project.name": "demo", "ire.stage.name": "synthesis"})
    assert found == {one.metadata.otel_trace_id for one in demo}


def test_no_secret_of_a_run_arrives_anywhere(tmp_path: Path, collector: Collector, there: Path, jaeger: Jaeger) -> None:
    """A run that leaks every kind of secret wherever one can: whole in Jaeger and as a document, and without one."""
    leak(collector)
    same_as_here(there, runs=1)
    (made,) = documents()
    same_in_jaeger(jaeger, [made])
    trace_id = str(made.metadata.otel_trace_id)
    assert found_in(json.dumps(jaeger.spans(trace_id)).encode()) == []
    files = [path for folder in (there, tmp_path / "queues") for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 4
    assert {path.name: found for path in files if (found := found_in(path.read_bytes()))} == {}


def test_the_collector_masks_what_senders_did_not(collector: Collector, there: Path, jaeger: Jaeger) -> None:
    """A run whose process lets secrets pass: masked in every value, before Jaeger and before the receiver."""
    everything = "\n".join(planted.text for planted in PLANTED)
    values = {"text": everything, "json": json.dumps({"said": everything, "twice": json.dumps([everything])})}
    spans = [with_values(root(), values), with_values(stage("collection"), values)]
    assert found_in(json.dumps(spans).encode())
    assert post(collector, *spans) == 200
    wait_until(lambda: len(jaeger.spans(TRACE)) == 2)
    assert found_in(json.dumps(jaeger.spans(TRACE)).encode()) == []
    assert "****" in json.dumps(jaeger.spans(TRACE))
    wait_until(lambda: RUN in written(there))
    assert found_in(b"".join(path.read_bytes() for path in there.rglob("*") if path.is_file())) == []


def test_a_run_that_was_killed_is_no_orphan(
    collector: Collector, there: Path, jaeger: Jaeger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `ire-otel recover` each of its spans in Jaeger has its parent there; the receiver has all its decisions."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.http}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    child = Child(brain_dir="brain", exporters=["ire", "otlp"])
    trace_id: str = child.do("run", "why?")
    for name in ("intake", "collection"):
        child.do("stage", name)
        child.do("decide", 1, 10)
        child.do("end_stage")
    child.do("stage", "synthesis")
    child.do("decide", 2, 10)
    child.do("flush")
    child.kill()
    monkeypatch.setenv("IRE_OTEL_EXPORTERS", "ire,otlp")
    subprocess.run([COMMAND, "recover"], check=True, capture_output=True)
    (made,) = documents()
    same_in_jaeger(jaeger, [made])
    spans = {span["spanID"]: span for span in jaeger.spans(str(made.metadata.otel_trace_id))}
    assert {span["operationName"] for span in spans.values()} == {
        "research_run", "intake", "collection", "synthesis"
    }  # fmt: skip
    parents = [reference["spanID"] for span in spans.values() for reference in span["references"]]
    assert [parent for parent in parents if parent not in spans] == []
    assert len(parents) == len(spans) - 1
    wait_until(lambda: trace_id in written(there) and decided_by([written(there)[trace_id]]) == decided_by([made]))
    assert written(there)[trace_id].run.status == "incomplete"
    assert written(there)[trace_id].metadata.recovered is True


@pytest.mark.parametrize("end", [Peer.kill, Peer.stop], ids=["killed", "stopped"])
def test_what_was_taken_survives_the_end_of_both(
    tmp_path: Path, there: Path, server: Serving, jaeger: Jaeger, end: Callable[[Peer], None]
) -> None:
    """The receiver is down, the Collector answers 200 and ends: both come back, and the run is written."""
    with collecting(tmp_path / "queues", targets(server, jaeger)) as collector:
        server.kill()
        assert post(collector, root(), stage("intake")) == 200
        time.sleep(2)  # its batch is made and tried, in vain, after one
        end(collector.peer)
        assert written(there) == {}
        with serving(there, "--grpc-port", server.grpc.rpartition(":")[2], serve_token=TOKEN):
            collector.start()
            wait_until(lambda: RUN in written(there), 60)
    assert set(written(there)[RUN].stages) == {"intake"}


def test_a_full_queue_tells_senders_to_come_again(tmp_path: Path, there: Path, server: Serving, jaeger: Jaeger) -> None:
    """503, and no lost span, while the receiver is down and the queue is full; what was answered with 200 arrives."""
    spans = long_stages(10)
    with collecting(
        tmp_path / "queues", targets(server, jaeger), small_queue(tmp_path, "otlp_grpc/serve")
    ) as collector:
        server.kill()
        answers = [post(collector, span) for span in spans]
        accepted = answers.count(200)
        assert answers == [200] * accepted + [503] * (len(spans) - accepted)
        assert 0 < accepted < len(spans)
        with serving(there, "--grpc-port", server.grpc.rpartition(":")[2], serve_token=TOKEN):
            wait_until(lambda: post(collector, root()) == 200)
            wait_until(lambda: RUN in written(there) and written(there)[RUN].metadata.records == accepted + 1, 60)


def test_a_jaeger_that_is_down_keeps_no_run_from_its_document(
    tmp_path: Path, there: Path, server: Serving, jaeger: Jaeger
) -> None:
    """Even where its queue is full and senders are told to come again: the receiver has the spans already."""
    down = {**targets(server, jaeger), "JAEGER_ENDPOINT": f"127.0.0.1:{free_port()}"}
    with collecting(tmp_path / "queues", down, small_queue(tmp_path, "otlp_grpc/jaeger")) as collector:
        answers = [post(collector, span) for span in (*long_stages(10), root())]
        assert 503 in answers
        wait_until(lambda: RUN in written(there) and written(there)[RUN].metadata.records == len(answers))


def test_a_span_larger_than_grpcs_own_limit_passes(collector: Collector, there: Path, jaeger: Jaeger) -> None:
    """9 MiB in one span: through the Collector, into Jaeger and into the document."""
    prompt = "word " * (9 * 1024 * 1024 // 5)
    with_prompt: dict[str, Any] = {"ire.stage.prompt.user": prompt}
    with grpc.insecure_channel(collector.grpc) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        export(as_protobuf(root(), stage("synthesis", **with_prompt)), timeout=60)
    wait_until(lambda: RUN in written(there) and "synthesis" in written(there)[RUN].stages)
    assert written(there)[RUN].stages["synthesis"].prompts == {"user": prompt}
    wait_until(lambda: len(jaeger.spans(TRACE)) >= 2)


def test_jaegers_page_has_its_settings(jaeger: Jaeger) -> None:
    """All of deploy/jaeger/ui.json is in the page that it gives."""
    given = json.loads((ROOT / "deploy/jaeger/ui.json").read_bytes())
    page = asked(f"{jaeger.url}/search", None, {}).body.decode()
    (shown,) = re.findall(r"^JAEGER_CONFIG = (\{.*\});?$", page, re.MULTILINE)
    assert json.loads(shown) == given


def test_import_from_the_real_jaeger(collector: Collector, jaeger: Jaeger, monkeypatch: pytest.MonkeyPatch) -> None:
    """By service and by trace id: the documents that the runs' own process wrote."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.http}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "to-import")
    monkeypatch.setenv("IRE_OTEL_EXPORTERS", "ire,otlp")
    run_demo()
    same_in_jaeger(jaeger, documents())
    trace_ids = [str(one.metadata.otel_trace_id) for one in documents()]
    for brain, asked_for in (("by-service", ["--service", "to-import"]), ("by-id", trace_ids)):
        monkeypatch.setenv("IRE_OTEL_BRAIN_DIR", brain)
        command = [str(COMMAND), "import", "--jaeger", jaeger.url, *asked_for]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        same_as_here(Path(brain))


def test_senders_on_other_machines_need_a_token(
    tmp_path: Path, there: Path, server: Serving, jaeger: Jaeger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With deploy/collector-beyond-loopback.yaml: TLS, 401 without the token, and OpenTelemetry's variables do it."""
    certificate, key = certificate_of_its_own(tmp_path)
    settings = {"COLLECTOR_CERTIFICATE": certificate, "COLLECTOR_KEY": key, "COLLECTOR_TOKEN": "of-senders"}
    overlay = ROOT / "deploy/collector-beyond-loopback.yaml"
    with collecting(tmp_path / "queues", {**targets(server, jaeger), **settings}, overlay) as collector:
        address = f"https://{collector.http}"
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):  # a machine's own would win over the exporter's
            monkeypatch.setenv(name, certificate)
        assert asked(f"{address}/v1/traces", as_json(root()), {"Content-Type": JSON}).status == 401
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20of-senders")
        ire_otel.configure(exporters=["ire", "otlp"])
        record_runs()
        same_as_here(there)


def certificate_of_its_own(folder: Path) -> tuple[str, str]:
    """Make a certificate for 127.0.0.1, and its key."""
    made = str(folder / "certificate.pem"), str(folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", made[0], "-keyout", made[1]]
    subprocess.run(command, check=True, capture_output=True)
    return made


def small_queue(folder: Path, exporter: str) -> Path:
    """Write a further file for the Collector: this exporter's queue holds five or six of `long_stages`."""
    queue = {"queue_size": 300_000, "batch": {"min_size": 1_000, "max_size": 100_000}}
    overlay = folder / "small.yaml"
    overlay.write_text(yaml.safe_dump({"exporters": {exporter: {"sending_queue": queue}}}), encoding="utf-8")
    return overlay


def long_stages(count: int) -> list[dict[str, Any]]:
    """Give so many stages, each with 50 KB of prompt."""
    prompt: dict[str, Any] = {"ire.stage.prompt.user": "x" * 50_000}
    return [stage("intake", number, **prompt) for number in range(1, count + 1)]


def leak(collector: Collector) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.http}"}
    program = "from tests.leaky_run import leak; leak(['ire', 'otlp'])"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def with_values(span: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """Give a span with these values, as attributes and in an event: texts, a list and a map."""
    given = [{"key": f"said.{name}", "value": {"stringValue": value}} for name, value in values.items()]
    texts = [{"stringValue": value} for value in values.values()]
    given.append({"key": "said.list", "value": {"arrayValue": {"values": texts}}})
    given.append({"key": "said.map", "value": {"kvlistValue": {"values": given[:1]}}})
    event = {"name": "said", "timeUnixNano": span["startTimeUnixNano"], "attributes": given}
    return {**span, "attributes": [*span["attributes"], *given], "events": [event]}


def post(collector: Collector, *spans: dict[str, Any]) -> int:
    """Send spans by OTLP/HTTP; gives the status."""
    return asked(f"http://{collector.http}/v1/traces", as_json(*spans), {"Content-Type": JSON}).status
