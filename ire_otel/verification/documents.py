"""What a trace document of the right types can still say wrongly. Pure."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from msgspec import UNSET

from ire_otel.model import Attempt, TraceDocument

_TRACE_ID: Final = re.compile(r"trc_\d{8}_([0-9a-f]{16})")
_HEX: Final = {"otel_trace_id": re.compile(r"[0-9a-f]{32}"), "otel_span_id": re.compile(r"[0-9a-f]{16}")}


def faults(document: TraceDocument) -> Iterator[str]:
    """Give each fault of a document, as a sentence: ids that do not fit one another, times out of order."""
    yield from _ids(document)
    run = document.run
    times = _Times()
    times.span("run", run.started_at, run.completed_at, run.duration_seconds)
    for name, stage in document.stages.items():
        attempts: Sequence[Attempt] = [stage] if stage.attempts is UNSET else stage.attempts
        for number, attempt in enumerate(attempts, start=1):
            where = f"stage {name}" if len(attempts) == 1 else f"stage {name} #{number}"
            times.span(where, attempt.started_at, attempt.completed_at, attempt.duration_seconds)
        times.row(f"attempts of stage {name}", [attempt.started_at for attempt in attempts])
        times.row(f"decisions of stage {name}", [decision.timestamp for decision in stage.decisions])
    yield from times.faults


def _ids(document: TraceDocument) -> Iterator[str]:
    metadata = document.metadata
    # Documents from before ire-otel have no OpenTelemetry ids.
    for name, form in _HEX.items():
        given = getattr(metadata, name)
        if given and not form.fullmatch(given):
            yield f"{name} {given[:80]!r} is no OpenTelemetry id"
    named = _TRACE_ID.fullmatch(document.trace_id)
    if named and metadata.otel_span_id not in {"", named[1]}:
        yield f"otel_span_id {metadata.otel_span_id[:80]!r} is not that of the trace_id"
    if document.parent_trace_id == document.trace_id:
        yield "it is its own parent"
    if document.trace_id in {child.trace_id for child in document.child_traces}:
        yield "it is its own child"


class _Times:
    """Compares times, and keeps what is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def span(self, where: str, started_at: str | None, completed_at: str | None, duration: float | None) -> None:
        """Look at a start, an end and a duration."""
        start, end = self._read(where, started_at), self._read(where, completed_at)
        if start and end and end < start:
            self.faults.append(f"{where} ended at {completed_at}, before it started at {started_at}")
        if duration is not None and not duration >= 0:
            self.faults.append(f"{where} took {duration} seconds")

    def row(self, where: str, stamps: Sequence[str | None]) -> None:
        """Look at times that must not go back."""
        known = [(moment, stamp) for stamp in stamps if (moment := self._read(where, stamp))]
        for (before, _), (after, stamp) in pairwise(known):
            if after < before:
                self.faults.append(f"{where} are not in time order at {stamp}")
                return

    def _read(self, where: str, stamp: str | None) -> datetime | None:
        if stamp is None:
            return None
        try:
            moment = datetime.fromisoformat(stamp)
        except ValueError:
            fault = f"{where}: {stamp[:40]!r} is no ISO 8601 time"
            if fault not in self.faults:
                self.faults.append(fault)
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
