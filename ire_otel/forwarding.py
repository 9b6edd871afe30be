"""Other exporters (`otlp`, `console`, anybody's): each gets complete spans on a thread and bounded queue of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from ire_otel.processor import RunProcessor, is_ours
from ire_otel.sdk_spans import from_readable, to_readable
from ire_otel.steps import Step, apply

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


BATCH_BYTES = 3 * 1024 * 1024
"""Largest batch, by the length of its texts: a Collector takes 4 MiB a request."""


class CompleteSpanExporter(SpanExporter):
    """Puts complete spans, in batches that a Collector takes, before another exporter.

    An SDK span holds at most 128 events; the run log holds all. So run and stage spans are rebuilt from the log here,
    off the pipeline's threads, and every span goes through the steps first.
    """

    def __init__(self, inner: SpanExporter, processor: RunProcessor, steps: Sequence[Step]) -> None:
        """`processor` knows the logs; `steps` take out what must not leave."""
        self._inner = inner
        self._processor = processor
        self._steps = steps
        self.exported = 0
        """Spans that the other exporter took."""
        self.refused = 0
        """Spans that it did not take."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export complete versions of `spans`."""
        complete = [ready for span in spans if (ready := self._complete(span)) is not None]
        results = [self._export_batch(batch) for batch in _batches(complete)]
        return SpanExportResult.SUCCESS if all(results) else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the other exporter down."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the other exporter."""
        return self._inner.force_flush(timeout_millis)

    def _complete(self, span: ReadableSpan) -> ReadableSpan | None:
        known = self._processor.record_of(span) if is_ours(span) else None
        if known is None and not self._steps:
            return span
        record = from_readable(span) if known is None else msgspec.structs.replace(known, name=span.name)
        passed = apply(self._steps, [record])
        if not passed:
            return None
        if known is None and passed[0] is record:
            return span
        return to_readable(passed[0], span.resource if passed[0].resource == record.resource else None)

    def _export_batch(self, batch: list[ReadableSpan]) -> bool:
        taken = self._inner.export(batch) is SpanExportResult.SUCCESS
        if taken:
            self.exported += len(batch)
        else:
            self.refused += len(batch)
        return taken


def forwarding_processor(inner: SpanExporter, processor: RunProcessor, steps: Sequence[Step]) -> BatchSpanProcessor:
    """Make the span processor that feeds another exporter."""
    return BatchSpanProcessor(CompleteSpanExporter(inner, processor, steps))


def _batches(spans: Sequence[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    batch: list[ReadableSpan] = []
    size = 0
    for span in spans:
        weight = _weight(span)
        if batch and size + weight > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(span)
        size += weight
    if batch:
        yield batch


def _weight(span: ReadableSpan) -> int:
    held = [span.attributes or {}, *(event.attributes or {} for event in span.events)]
    texts = sum(len(value) for attributes in held for value in attributes.values() if isinstance(value, str))
    return texts + 40 * sum(len(attributes) for attributes in held)
