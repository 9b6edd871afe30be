"""The `otlp-json-file` exporter: spans as lines of OTLP/JSON, as the Collector's file exporter writes them."""

import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ire_otel import settings
from ire_otel.sdk_spans import from_readable
from ire_otel_exporters import otlp_json

logger = logging.getLogger("ire_otel")


class JsonFileExporter(SpanExporter):
    """Appends one line a batch. Several processes may share the file, which somebody may move away at any time."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """path: the file; None takes the setting `otlp_json_file`. It is made with the first span."""
        self._path = settings.load_leniently()[0].otlp_json_file if path is None else Path(path)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append the spans."""
        try:
            append(self._path, otlp_json.line(from_readable(span) for span in spans))
        except OSError as error:
            logger.error("%d spans were not written to %s: %s", len(spans), self._path, error.strerror)  # noqa: TRY400 # one line
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 # nothing is held back
        """Nothing is held back."""
        return True


def append(path: Path, line: bytes) -> None:
    """Append a whole line or nothing of it, whoever else appends. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # a write may come in pieces, on a disk that fills up or a network's
        before = os.fstat(file.fileno()).st_size
        try:
            left = memoryview(line)
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(before)
            raise
