"""OpenTelemetry's BatchSpanProcessor with its OTLP/HTTP exporter, sending to the sink."""

from urllib.request import urlopen

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks import bare, reference


class Batch:
    """The same calls as bare OpenTelemetry's; every span is encoded and sent."""

    def __init__(self, sink: str) -> None:
        """`sink` is the sink's URL."""
        self._sink = sink
        self._spans = 0
        self._processor = BatchSpanProcessor(OTLPSpanExporter(f"{sink}/v1/traces"))
        self._provider = TracerProvider()
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("benchmark")

    def record(self) -> None:
        """Record the reference run."""
        bare.record(self._tracer)
        self._spans += 1 + len(reference.STAGES)

    def settle(self) -> None:
        """Send everything that is queued."""
        self._processor.force_flush()

    def clean(self) -> None:
        """The sink keeps nothing."""

    def close(self) -> None:
        """Compare what was recorded with what the sink got."""
        self._provider.shutdown()
        with urlopen(self._sink) as answer:  # noqa: S310 # the sink's own http URL
            received = int(answer.read())
        if received != self._spans:
            raise RuntimeError(f"{self._spans} spans were recorded, {received} reached the sink")
