"""OpenTelemetry's BatchSpanProcessor with its OTLP/HTTP exporter, sending to the sink."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks import reference
from benchmarks.contenders import Contender, bare
from benchmarks.sink import received

TITLE: Final = "OTel batch"
PACKAGES: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")


class Batch(Contender):
    """The same calls as bare OpenTelemetry's; every span is encoded and sent."""

    def __init__(self, sink: str) -> None:
        super().__init__()
        self._sink = sink
        self._processor = BatchSpanProcessor(OTLPSpanExporter(f"{sink}/v1/traces"))
        self._provider = TracerProvider(span_limits=bare.UNLIMITED)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("benchmark")

    def reference_run(self) -> None:
        """Record the reference run."""
        bare.record(self._tracer)

    def decisions_run(self, decisions: Iterable[reference.Decision]) -> None:
        """Record a run with one stage, in one span."""
        bare.record_decisions(self._tracer, decisions)

    def settle(self) -> None:
        """Send everything that is queued."""
        self._processor.force_flush()

    def stop(self) -> int:
        """Count what the sink got."""
        self._provider.shutdown()
        return received(self._sink)


def make(sink: str, folder: Path) -> Contender:  # noqa: ARG001 # as all contenders are made
    """Send to the sink."""
    return Batch(sink)
