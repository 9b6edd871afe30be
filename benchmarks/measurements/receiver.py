"""How many spans `ire-otel serve` takes in."""

import http.client
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ire_otel
from benchmarks.contenders.ire import Ire
from benchmarks.results import Figure, Figures, Goal, Scale, Size, percentile

TITLE: Final = "Receiver"
REMARK: Final = (
    "`ire-otel serve` gets OTLP/HTTP requests (protobuf, not compressed) on four connections, each a whole run: "
    "`reference runs` of 6 spans and 150 KB, `small spans`: runs with a hundred model calls of 1 KB. Per core: spans "
    "per second of the server's CPU time, until all files and rows are written. The answer comes when a request is "
    "safe on disk; p50 and p99 of that."
)
CHARTS: Final = ()
CONNECTIONS: Final = 4
CALLS: Final = 100
"""Model calls of a run with small spans."""
PATIENCE: Final = 120.0
"""Seconds until all files must be there."""


Record = Callable[[Ire, TracerProvider], None]


SIZES: Final = {
    Scale.SMALLEST: Size(rounds=1, each=2),
    Scale.QUICK: Size(rounds=1, each=80),
    Scale.FULL: Size(rounds=3, each=800),
}
"""How many runs."""


def measure(scale: Scale) -> list[Figure]:
    """Send both kinds to fresh receivers."""
    size = SIZES[scale]
    figures: list[Figure] = []
    for of, kind in (("reference runs", _reference_runs), ("small spans", _small_spans)):
        requests, spans = kind(size.each)
        rounds = [_sent(requests) for _ in range(size.rounds)]
        latencies = [one for sent in rounds for one in sent.latencies]
        figures += [
            Figure(what="spans per core", of=of, unit="spans/s", samples=[spans / sent.cpu for sent in rounds]),
            Figure(what="runs per core", of=of, unit="runs/s", samples=[size.each / sent.cpu for sent in rounds]),
            Figure(what="spans answered", of=of, unit="spans/s", samples=[spans / sent.seconds for sent in rounds]),
            Figure(what="request, p50", of=of, unit="ms", samples=[percentile(latencies, 50)]),
            Figure(what="request, p99", of=of, unit="ms", samples=[percentile(latencies, 99)]),
        ]
    return figures


def _reference_runs(count: int) -> tuple[list[bytes], int]:
    return _requests(lambda recorder, _: _record_runs(recorder, count))


def _record_runs(recorder: Ire, count: int) -> None:
    for _ in range(count):
        recorder.record()


def _small_spans(count: int) -> tuple[list[bytes], int]:
    def record(_: Ire, provider: TracerProvider) -> None:
        tracer = provider.get_tracer("openai")
        for _run in range(count):
            with ire_otel.run("q", project_name="cobot"), ire_otel.stage("synthesis"):
                for number in range(CALLS):
                    _call(tracer, number)

    return _requests(record)


def _call(tracer: trace.Tracer, number: int) -> None:
    about: dict[str, str | int] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5.2",
        "gen_ai.response.id": f"resp_{number}",
        "gen_ai.usage.input_tokens": 900,
        "gen_ai.usage.output_tokens": 100,
        "gen_ai.output.messages": "the answer " * 80,
    }
    tracer.start_span("chat gpt-5.2", attributes=about).end()


def _requests(record: Record) -> tuple[list[bytes], int]:
    """Trace in this process and give one request a run, and the number of spans."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with TemporaryDirectory(prefix="ire-otel-bench-") as folder:
        recorder = Ire(Path(folder), provider)
        record(recorder, provider)
        ire_otel.shutdown()
    runs: dict[int, list[ReadableSpan]] = {}
    for span in kept.get_finished_spans():
        if span.context is not None:
            runs.setdefault(span.context.trace_id, []).append(span)
    return [encode_spans(spans).SerializeToString() for spans in runs.values()], len(kept.get_finished_spans())


class _Sent(NamedTuple):
    seconds: float
    cpu: float
    latencies: list[float]


def _sent(requests: Sequence[bytes]) -> _Sent:
    from tests.receivers import serving

    with TemporaryDirectory(prefix="ire-otel-bench-") as folder, serving(Path(folder)) as server:
        used, began = _cpu(server.process.pid), perf_counter()
        latencies: list[float] = []
        share = [requests[first::CONNECTIONS] for first in range(CONNECTIONS)]
        threads = [threading.Thread(target=_send, args=(server.http, some, latencies)) for some in share]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = perf_counter() - began
        _wait_for_files(Path(folder), len(requests))
        return _Sent(seconds=seconds, cpu=_cpu(server.process.pid) - used, latencies=latencies)


def _send(url: str, requests: Sequence[bytes], latencies: list[float]) -> None:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    for body in requests:
        began = perf_counter()
        connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        latencies.append((perf_counter() - began) * 1000)
        if answer.status != http.client.OK:
            raise RuntimeError(f"the receiver answered {answer.status}")
    connection.close()


def _wait_for_files(brain: Path, count: int) -> None:
    deadline = monotonic() + PATIENCE
    while (found := sum(1 for _ in brain.glob("projects/*/_traces/trc_*.json"))) < count:
        if monotonic() > deadline:
            raise RuntimeError(f"{found} of {count} runs were written within {PATIENCE:g} s")
        sleep(0.05)


def _cpu(pid: int) -> float:
    """Give the CPU seconds of a process and all its threads."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def goals(figures: Figures) -> Iterator[Goal]:
    """None has been set."""
    del figures
    yield from ()
