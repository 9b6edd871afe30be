"""Other exporters (`otlp`, `console`, anybody's): each gets complete spans on a thread and bounded queue of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from ire_otel import content, exporter_names, redaction
from ire_otel.processor import RunProcessor, is_ours
from ire_otel.sdk_spans import from_readable, to_readable
from ire_otel.settings import Settings
from ire_otel.steps import Step, apply

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


logger = logging.getLogger("ire_otel")

BATCH_BYTES = 3 * 1024 * 1024
"""Largest batch: a Collector takes 4 MiB a request."""


class CompleteSpanExporter(SpanExporter):
    """Puts complete spans, in batches that a Collector takes, before another exporter.

    An SDK span holds at most 128 events; the run log holds all. So run and stage spans are rebuilt from the log here,
    off the pipeline's threads, and every span goes through the steps first.
    """

    def __init__(self, inner: SpanExporter, processor: RunProcessor | None, steps: Sequence[Step]) -> None:
        """`processor` knows the logs; None where spans come complete. `steps` take out what must not leave."""
        self.inner = inner
        self._processor = processor
        self._steps = steps
        self.exported = 0
        """Spans that the other exporter took."""
        self.refused = 0
        """Spans that it did not take, or raised at."""
        self.withheld = 0
        """Spans that a step left out."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export complete versions of `spans`."""
        complete = [ready for span in spans if (ready := self._complete(span)) is not None]
        self.withheld += len(spans) - len(complete)
        results = [self._export_batch(batch) for batch in _batches(complete)]
        return SpanExportResult.SUCCESS if all(results) else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the other exporter down."""
        try:
            self.inner.shutdown()
        except Exception:
            logger.exception("%s failed to shut down", type(self.inner).__qualname__)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the other exporter."""
        return self.inner.force_flush(timeout_millis)

    def _complete(self, span: ReadableSpan) -> ReadableSpan | None:
        known = self._processor.record_of(span) if self._processor is not None and is_ours(span) else None
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
        try:
            taken = self.inner.export(batch) is SpanExportResult.SUCCESS
        except Exception:
            # Somebody else's exporter may fail in any way; later batches are tried all the same.
            logger.exception("%s failed to take %d spans", type(self.inner).__qualname__, len(batch))
            taken = False
        if taken:
            self.exported += len(batch)
        else:
            self.refused += len(batch)
        return taken


class ForwardingProcessor(BatchSpanProcessor):
    """Feeds another exporter on a thread of its own, from a queue that drops its oldest spans when it is full."""

    def __init__(self, complete: CompleteSpanExporter) -> None:
        """The size of the queue is OTEL_BSP_MAX_QUEUE_SIZE (2048)."""
        self.complete = complete
        self._offered = 0
        self._flusher: threading.Thread | None = None
        super().__init__(self.complete)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._offered += 1
        super().on_end(span)

    def flushing(self) -> threading.Thread:
        """Give the thread that sends what is queued: the one that does so already, if there is one."""
        if self._flusher is None or not self._flusher.is_alive():
            self._flusher = _started(self.force_flush)
        return self._flusher

    @property
    def unsent(self) -> int:
        """Spans that wait, or, once it is shut down, that were dropped."""
        return self._offered - self.complete.exported - self.complete.refused - self.complete.withheld


def made(
    name: str,
    make: Callable[..., SpanExporter],
    chosen: Settings,
    steps: Sequence[Step],
    processor: RunProcessor | None,
) -> CompleteSpanExporter | None:
    """Make another exporter, with its steps before it; None, and an error in the log, where that fails."""
    try:
        exporter = make(chosen.otlp_json_file) if name == exporter_names.JSON_FILE_EXPORTER else make()
    except Exception:
        # One exporter that cannot work, whatever its reason, must not cost the run the others.
        logger.exception("exporter %r cannot be made; ire-otel goes on without it", name)
        return None
    return CompleteSpanExporter(
        exporter, processor, (*steps, *redaction.steps(chosen), *content.steps(chosen, name))
    )  # fmt: skip


def flush(processors: Sequence[ForwardingProcessor], timeout: float) -> bool:
    """Send what is queued; False if `timeout` (seconds) ran out first. No exporter waits for another one."""
    return _joined([processor.flushing() for processor in processors], timeout)


def shutdown(processors: Sequence[ForwardingProcessor], timeout: float) -> None:
    """Send what is queued, at most for `timeout` seconds, and stop."""
    _joined([_started(processor.shutdown) for processor in processors], timeout)
    for processor in processors:
        if processor.unsent:
            name = type(processor.complete.inner).__qualname__
            logger.error("%s did not take %d spans in time, or they were dropped before", name, processor.unsent)


def _started(call: Callable[[], object]) -> threading.Thread:
    """Make a call that may never come back on a thread of its own."""
    thread = threading.Thread(target=call, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        call()  # the interpreter is ending, and starts no threads any more
    return thread


def _joined(threads: Sequence[threading.Thread], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


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
    names = [span.name, span.status.description or "", *(event.name for event in span.events)]
    held = [span.attributes or {}, *(event.attributes or {} for event in span.events)]
    held += [link.attributes or {} for link in span.links]
    return _FIXED * len(held) + _size(names) + sum(map(_size, held))


def _size(value: Any) -> int:
    """Give about how many bytes a value takes up in OTLP, rather too many than too few."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="replace"))
    if isinstance(value, Mapping):
        return sum(_ENTRY + _size(key) + _size(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return sum(_ENTRY + _size(item) for item in value)
    return len(value) if isinstance(value, bytes) else 0


_FIXED: Final = 80
"""Bytes of a span, event or link without its texts and attributes."""
_ENTRY: Final = 20
"""Bytes of an attribute, or an item of a list, beside its texts: lengths, and a number."""
