"""`ire-otel serve`: what real senders send becomes the documents that their own processes would have written."""

import os
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

import ire_otel
from ire_otel import assembly, settings
from ire_otel.model import TraceDocument
from ire_otel.records import SpanRecord
from ire_otel.server.assembler import Assembler
from ire_otel.server.bodies import take
from ire_otel_exporters.research import ResearchExporter
from tests.databases import free_port
from tests.receivers import JSON, RUN, Serving, as_json, as_protobuf, root, serving, stage, written
from tests.relayed_runs import record_runs, run_demo, same_as_here
from tests.runs import stored_rows, wait_until

ROTEL: Final = Path(sysconfig.get_path("purelib")) / "rotel" / "rotel-agent"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Give the brain folder of the receiver's machine."""
    return tmp_path / "there"


@pytest.fixture
def server(there: Path) -> Iterator[Serving]:
    with serving(there) as running:
        yield running
        assert running.stop() == 0
        assert "Traceback" not in running.said, running.said


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_real_exporters(
    server: Serving, there: Path, protocol: str, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenTelemetry's own OTLP exporters, from a process that traces with ire-otel."""
    endpoint = f"http://{server.grpc}" if protocol == "grpc" else server.http
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    if compression != "none":  # the gRPC exporter does not know that word
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    ire_otel.configure(exporters=["ire", "otlp"], otlp_protocol=protocol)
    record_runs()
    same_as_here(there)


class Relay(NamedTuple):
    """Where rotel takes spans."""

    grpc: str
    http: str


@contextmanager
def relaying(target: str, protocol: str) -> Iterator[Relay]:
    """Run rotel, which takes both forms of OTLP, batches anew, and sends to `target` by `protocol`."""
    relay = Relay(*(f"127.0.0.1:{free_port()}" for _ in range(2)))
    listen = ["--otlp-grpc-endpoint", relay.grpc, "--otlp-http-endpoint", relay.http]
    send = ["--exporter", "otlp", "--otlp-exporter-endpoint", target, "--otlp-exporter-protocol", protocol]
    process = subprocess.Popen([ROTEL, "start", *listen, *send], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: process.poll() is not None or all(map(_listens, relay)))
        if process.poll() is not None:
            output = process.communicate()[0].decode(errors="replace")
            pytest.skip(f"rotel does not run here: {output[-200:]}")
        yield relay
    finally:
        process.terminate()
        process.communicate()


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@pytest.mark.skipif(not os.access(ROTEL, os.X_OK), reason="the package rotel has no binary for this platform")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_collector_in_between(server: Serving, there: Path, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo and odd runs, by either protocol: rotel batches and compresses anew; the documents are the same."""
    with relaying(server.http if protocol == "http" else f"http://{server.grpc}", protocol) as relay:
        sent_by = "grpc" if protocol == "grpc" else "http/protobuf"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{relay.grpc if protocol == 'grpc' else relay.http}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", sent_by)
        monkeypatch.setenv("IRE_OTEL_EXPORTERS", "ire,otlp")
        run_demo()
        ire_otel.configure()
        record_runs()
        same_as_here(there, runs=4)


def test_spans_of_one_run_from_many_senders(server: Serving, there: Path) -> None:
    """In any order, in both forms, twice: one document, and a late span joins it."""
    assert server.post(as_json(stage("synthesis", 2)), JSON).status == 200
    assert server.post(as_protobuf(root())).status == 200
    assert server.post(as_json(stage("intake", 1)), JSON).status == 200
    assert server.post(as_json(stage("intake", 1)), JSON).status == 200
    wait_until(lambda: RUN in written(there) and set(written(there)[RUN].stages) == {"intake", "synthesis"})
    server.post(as_protobuf(stage("quality_gate", 3)))
    wait_until(lambda: "quality_gate" in written(there)[RUN].stages)
    (made,) = written(there).values()
    assert made.run.status == "complete"
    assert made.metadata.source == "otlp"
    assert made.metadata.records == 4
    assert [row["trace_id"] for row in stored_rows(there)] == [RUN]


def test_a_run_whose_root_does_not_come_is_incomplete_until_it_does(there: Path) -> None:
    """Settled after the time-out, also once more when another span has come; repaired across a restart."""
    with serving(there, incomplete_after=0.5) as first:
        first.post(as_json(stage("intake", 1)), JSON)
        wait_until(lambda: RUN in written(there))
        assert written(there)[RUN].run.status == "incomplete"
        first.post(as_json(stage("collection", 2)), JSON)
        wait_until(lambda: set(written(there)[RUN].stages) == {"intake", "collection"})
        assert written(there)[RUN].run.status == "incomplete"
    with serving(there, incomplete_after=0.5) as second:
        second.post(as_json(root()), JSON)
        wait_until(lambda: written(there)[RUN].run.status == "complete")
    assert set(written(there)[RUN].stages) == {"intake", "collection"}
    wait_until(lambda: [row["status"] for row in stored_rows(there)] == ["complete"])


def test_a_parent_run_waits_for_its_own_span(server: Serving, there: Path) -> None:
    """A child that has ended is written; the run around it, which goes on, is not called incomplete."""
    child = "trc_20260213_00000000000000bb"
    inner = {**root(run=child), "spanId": "00000000000000bb", "parentSpanId": "0000000000000001"}
    server.post(as_json(stage("intake", 1), inner), JSON)
    wait_until(lambda: child in written(there))
    assert set(written(there)) == {child}
    server.post(as_json(root()), JSON)
    wait_until(lambda: set(written(there)) == {child, RUN})
    assert written(there)[RUN].run.status == "complete"


def test_what_was_taken_survives_a_kill(there: Path) -> None:
    """Answered 200 within the grace period, then SIGKILL: the next start writes it."""
    with serving(there, grace_period=60) as first:
        assert first.post(as_json(root(), stage("intake")), JSON).status == 200
        first.kill()
    assert written(there) == {}
    with serving(there):
        wait_until(lambda: RUN in written(there))
    assert set(written(there)[RUN].stages) == {"intake"}


def test_a_graceful_stop_writes_what_has_ended(there: Path) -> None:
    """Without its grace period; what has no end yet stays in the inbox."""
    going_on = "trc_20260213_00000000000000bb"
    with serving(there, grace_period=60) as server:
        server.post(as_json(root(), stage("intake", trace=2, run=going_on)), JSON)
        assert server.stop() == 0
    assert set(written(there)) == {RUN}
    with serving(there, incomplete_after=0.5):
        wait_until(lambda: going_on in written(there))


def test_spans_after_their_run_was_let_go_of_go_beside_its_file(there: Path) -> None:
    """The document stays as it is; `verify` names what came too late."""
    with serving(there, settle_after=0.1, incomplete_after=0.5) as server:
        server.post(as_json(root(), stage("intake", 1)), JSON)
        wait_until(lambda: RUN in written(there))
        time.sleep(2.5)  # the receiver looks once a second
        secret = f"sk-ant-api03-{'a1B2' * 20}"
        server.post(as_json(stage("synthesis", 2, **{"ire.stage.outputs": secret})), JSON)
        late = there / f"projects/cobot/_traces/{RUN}.late.jsonl"
        wait_until(lambda: late.exists() and late.stat().st_size)
    assert secret not in late.read_text()
    assert "synthesis" in late.read_text()
    assert set(written(there)[RUN].stages) == {"intake"}


def test_a_run_that_cannot_be_assembled_is_set_aside(
    there: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its secrets, and never tried again; the runs beside it are written."""
    real = assembly.assemble

    def failing(records: Sequence[SpanRecord], **how: Any) -> TraceDocument:
        if how["run_id"] == RUN:
            raise ValueError("a fault of ours")
        return real(records, **how)

    monkeypatch.setattr(assembly, "assemble", failing)
    chosen = settings.Settings(brain_dir=there, grace_period=0.0)
    exporter = ResearchExporter(chosen)
    assembler = Assembler(chosen, exporter, 2**20, None)
    assembler.start()
    fine = "trc_20260213_00000000000000bb"
    for number, (run, query) in enumerate(((RUN, f"sk-ant-api03-{'a1B2' * 20}"), (fine, "q")), 1):
        own = root(run=run, trace=number, **{"ire.run.query": query})
        body = as_protobuf(own, stage("intake", run=run, trace=number))
        assembler.inbox.append(take(body, "protobuf", 2**20, assembler.ends).arrivals).result(10)
    unclaimed = there / f"_spool/unclaimed/{1:032x}.jsonl"
    wait_until(lambda: fine in written(there) and unclaimed.exists())
    assembler.stop(10)
    exporter.shutdown()
    kept = [msgspec.json.decode(line, type=SpanRecord) for line in unclaimed.read_bytes().splitlines()]
    assert [record.name for record in kept] == ["research_run", "intake"]
    assert kept[0].attributes["ire.run.query"] == "[redacted:anthropic-key]"
    assert [record.msg for record in caplog.records].count("run %s could not be assembled") == 1
    assert str(unclaimed) in caplog.text


def _segments(brain: Path) -> list[Path]:
    return list((brain / "_spool" / "inbox").glob("*.spans"))


def test_an_empty_inbox_leaves_nothing(there: Path) -> None:
    """Once all runs are settled, a stop removes the segments."""
    with serving(there, settle_after=0.2) as server:
        server.post(as_json(root()), JSON)
        assert len(_segments(there)) == 1
        wait_until(lambda: RUN in written(there))
        time.sleep(2.5)  # the receiver looks once a second
        server.stop()
    assert _segments(there) == []


def test_one_receiver_an_inbox(server: Serving, there: Path) -> None:
    """A second one says so and ends."""
    with pytest.raises(AssertionError, match="in use by another `ire-otel serve`"), serving(there):
        pass
