"""Which of many spans belong to a run, and as what."""

from collections.abc import Mapping, Sequence

import msgspec

from ire_otel import semconv
from ire_otel.assembly.attributes import text
from ire_otel.assembly.times import microseconds
from ire_otel.records import SpanRecord

SpanKey = tuple[str, str]


class RunRecords(msgspec.Struct, frozen=True, kw_only=True):
    """The merged spans of one run; those of its child runs are not among them."""

    run_id: str
    run: SpanRecord | None
    """The run span; None where it never arrived."""
    stages: Sequence[SpanRecord]
    """By start, then span id."""
    notes: Sequence[SpanRecord]
    """What other processes than the run's own said of the run, or of its stages: a span of ours for each event."""
    foreign: Sequence[SpanRecord]
    """What other instrumentation recorded inside the run."""
    stage_by_id: Mapping[str, SpanRecord]
    """The stage spans by span id."""
    by_key: Mapping[SpanKey, SpanRecord]
    """Every span given, other runs' too: ancestors are looked up here."""

    @property
    def own(self) -> Sequence[SpanRecord]:
        """The run span, then the stage spans."""
        return self.stages if self.run is None else (self.run, *self.stages)


def key(span: SpanRecord) -> SpanKey:
    """Give what identifies a span."""
    return span.trace_id, span.span_id


def is_run_span(span: SpanRecord) -> bool:
    """Whether the span stands for a whole run."""
    if semconv.RUN_ID not in span.attributes or semconv.STAGE_NAME in span.attributes:
        return False
    return semconv.SCHEMA in span.attributes or f"{span.name} ".startswith(f"{semconv.RUN_SPAN} ")


def select(spans: Sequence[SpanRecord], run_id: str | None) -> RunRecords:
    """Pick the spans of one run out of merged spans.

    A span belongs to the run whose id it carries, else to its parent's. Without a `run_id` the run is the earliest of
    those that have no parent run among the spans. Raises ValueError where there is no such run.
    """
    by_key = {key(span): span for span in spans}
    chosen = _outermost_run(spans) if run_id is None else run_id
    run_of = membership(by_key)
    members = sorted((span for span in spans if run_of[key(span)] == chosen), key=_by_start)
    if not members:
        message = f"no span of run {chosen} among the {len(spans)} given; pass all spans of its trace"
        raise ValueError(message)
    heads = sorted(filter(is_run_span, members), key=lambda span: not chosen.endswith(span.span_id))
    head = heads[0] if heads else None
    others = [span for span in members if span is not head]
    stages = tuple(span for span in others if semconv.STAGE_NAME in span.attributes)
    rest = [span for span in others if semconv.STAGE_NAME not in span.attributes]
    return RunRecords(
        run_id=chosen,
        run=head,
        stages=stages,
        notes=tuple(span for span in rest if span.scope_name == semconv.SCOPE),
        foreign=tuple(span for span in rest if span.scope_name != semconv.SCOPE),
        stage_by_id={stage.span_id: stage for stage in stages},
        by_key=by_key,
    )


def enclosing_stage(records: RunRecords, span: SpanRecord) -> SpanRecord | None:
    """Give the stage span that `span` ran inside: the one it was stamped with, else its nearest ancestor among them."""
    stages = records.stage_by_id
    stamped = stages.get(text(span.attributes.get(semconv.STAGE_SPAN_ID)) or "")
    if stamped is not None and stamped is not span:
        return stamped
    seen = {key(span)}
    above = records.by_key.get((span.trace_id, span.parent_span_id or ""))
    while above is not None and above is not records.run and key(above) not in seen:
        if stages.get(above.span_id) is above:
            return above
        seen.add(key(above))
        above = records.by_key.get((above.trace_id, above.parent_span_id or ""))
    return None


def _by_start(span: SpanRecord) -> tuple[int, str]:
    return microseconds(span.start_ns), span.span_id


def membership(by_key: Mapping[SpanKey, SpanRecord]) -> dict[SpanKey, str | None]:
    """Give the run id of every span: its own mark, else that of the nearest marked ancestor, else None."""
    runs: dict[SpanKey, str | None] = {}
    for start in by_key:
        at, path = start, []
        while at in by_key and at not in runs:
            span = by_key[at]
            runs[at] = text(span.attributes.get(semconv.RUN_ID))
            if runs[at] is None:
                path.append(at)
                at = (span.trace_id, span.parent_span_id or "")
        for passed in path:
            runs[passed] = runs.get(at)
    return runs


def _outermost_run(spans: Sequence[SpanRecord]) -> str:
    first_seen: dict[str, tuple[int, str]] = {}
    parents: dict[str, str | None] = {}
    for span in sorted(spans, key=_by_start):
        run_id = text(span.attributes.get(semconv.RUN_ID))
        if run_id is None:
            continue
        first_seen.setdefault(run_id, _by_start(span))
        if is_run_span(span):
            parents[run_id] = text(span.attributes.get(semconv.RUN_PARENT_ID))
    if not first_seen:
        message = f"none of {len(spans)} spans carries {semconv.RUN_ID}; were they recorded inside a run?"
        raise ValueError(message)
    outermost = [run_id for run_id in first_seen if parents.get(run_id) not in first_seen]
    return min(outermost or first_seen, key=lambda run_id: (first_seen[run_id], run_id))
