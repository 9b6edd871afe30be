"""Laws of assembly: the document depends on what was recorded, not on how the records arrive."""

import base64
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ire_otel import semconv, values
from ire_otel.assembly import assemble, encode, merge
from ire_otel.assembly.times import covered_seconds
from ire_otel.reader import decode
from ire_otel.records import EventRecord, LinkRecord, SpanRecord
from ire_otel.sdk_spans import from_readable, to_readable
from ire_otel_exporters.otlp import from_otlp, from_otlp_json, to_otlp
from tests.run_records import RUN_ID, RUN_SPAN_ID, START, TRACE_ID

STAGES = ["intake", "collection", "quality_gate", "[odd] stage"]
ID_NAMES = ("traceId", "spanId", "parentSpanId")
TEXT = st.text(max_size=8).map(values.well_formed)

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["[", '{"a": 1', '"', "[1, 2]", "null", '{"principle_scores": {"A": 1}}'])
    | st.sampled_from([datetime(2026, 2, 13, tzinfo=UTC), Decimal("1.50"), b"\x00\xff", {3, 1}, object]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
"""Whatever a pipeline may hand over."""

recorded = anything.map(values.attribute)
"""As ire-otel writes it into an attribute."""

foreign = st.recursive(
    TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1, max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)
"""As other people's instrumentation writes it: lists and maps, and text cut in the middle."""

scores = st.sampled_from([0, 1.0, 1.5, 2, 3.0, math.nan, True, "3"])


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Attributes named by constants of semconv in lower case, each there or not."""
    named = {getattr(semconv, name.upper()): field for name, field in fields.items()}
    return st.fixed_dictionaries({}, optional=named).map(_present)


def _present(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


stage_facts = optional(
    stage_outputs=st.fixed_dictionaries(
        {},
        optional={
            "principle_scores": st.dictionaries(st.sampled_from("AB"), scores) | anything,
            "passed": st.booleans() | anything,
            "threshold": scores,
            "token_usage": st.fixed_dictionaries({}, optional={"input_tokens": anything, "output_tokens": anything}),
            "evidence_passed": anything,
            "intent": anything,
        },
    ).map(values.attribute)
    | foreign,
    stage_evidence=st.fixed_dictionaries(
        {}, optional={"kept": anything, "filtered_out": st.lists(st.just({"source": "exa"})), "by_source": anything}
    ).map(values.attribute)
    | foreign,
    stage_error=recorded,
    stage_model=recorded,
    stage_input_tokens=foreign,
    stage_cost_usd=scores,
    gate_passed=foreign,
    gate_threshold=scores,
    gate_gaps=recorded,
    warning=recorded | foreign,
) | st.builds(lambda text: {f"{semconv.STAGE_PROMPT_PREFIX}user": values.attribute(text)}, TEXT)

model_calls = st.fixed_dictionaries(
    {"gen_ai.operation.name": st.sampled_from(["chat", "embeddings", "invoke_agent"])},
    optional={
        "gen_ai.response.id": st.sampled_from(["r1", "r2"]),
        "gen_ai.response.model": st.sampled_from(["gpt-4o-2024-08-06", "nobody-knows"]),
        "gen_ai.usage.input_tokens": st.sampled_from([10, 10.0]) | foreign,
        "gen_ai.usage.output_tokens": st.integers(0, 2),
        "gen_ai.input.messages": recorded | foreign,
        "openinference.span.kind": st.sampled_from(["LLM", "CHAIN"]),
    },
)
"""What instrumentation says of model calls."""

stage_names = st.sampled_from(STAGES).map(values.attribute)

decisions = st.builds(
    dict[str, Any].__or__,
    st.fixed_dictionaries({semconv.DECISION_TYPE: st.sampled_from(["classified_intent", "d"])}),
    optional(
        decision_what=recorded | foreign,
        decision_why=recorded,
        decision_confidence=st.floats() | foreign,
        given_alternatives=recorded | foreign,
        given_inputs=recorded,
        stage_name=stage_names,
        warning=TEXT,
    ),
)
score_events = st.builds(
    dict[str, Any].__or__,
    st.fixed_dictionaries({semconv.SCORE_ID: st.sampled_from("ABC"), semconv.SCORE_VALUE: scores}),
    optional(score_explanation=TEXT, stage_name=stage_names),
)
iterations = st.fixed_dictionaries(
    {
        semconv.ITERATION: st.dictionaries(st.sampled_from(["passed", "quality_gate_result"]), anything).map(
            values.attribute
        )
    }
)
children = st.builds(
    dict[str, Any].__or__,
    st.fixed_dictionaries({semconv.CHILD_ID: st.sampled_from(["trc_1", "trc_2"])}),
    optional(child_output_type=TEXT, child_path=TEXT),
)
facts_events = st.builds(dict[str, Any].__or__, stage_facts, st.fixed_dictionaries({semconv.STAGE_NAME: stage_names}))
bodies = decisions | decisions | score_events | iterations | children | facts_events

times = st.integers(0, 12).map(lambda tick: START + tick * 700)
"""Close enough for ties within a microsecond."""


@st.composite
def runs(draw: st.DrawFn) -> list[SpanRecord]:
    """Every span of one run, complete: parallel, repeated and nested stages, foreign spans, maybe no run span."""
    numbers = iter(range(1, 1000))
    resource: dict[str, Any] = draw(
        st.sampled_from([{}, {"service.name": "a", "n": 1}, {"service.name": "b", "l": ["x"], "m": {"k": 1.0}}])
    )

    def span(span_id: str, parent: str | None, attributes: dict[str, Any], *, name: str) -> SpanRecord:
        start = draw(times)
        return SpanRecord(
            trace_id=TRACE_ID,
            span_id=span_id,
            parent_span_id=parent,
            name=name,
            start_ns=start,
            end_ns=draw(st.none() | times.map(lambda end: max(start, end))),
            status=draw(st.sampled_from(["UNSET", "OK", "ERROR"])),
            status_description=draw(st.none() | TEXT.map(lambda text: text or None)),
            attributes=attributes,
            events=tuple(_event(draw, next(numbers)) for _ in range(draw(st.integers(0, 4)))),
            links=draw(st.sampled_from([(), (LinkRecord(trace_id=TRACE_ID, span_id="00000000000000ee"),)])),
            scope_name=draw(st.sampled_from([None, semconv.SCOPE])),
            resource=resource,
            dropped_events=draw(st.integers(0, 1)),
        )

    identity = {semconv.RUN_ID: RUN_ID, semconv.PROCESS: "p1"}
    head = draw(
        optional(
            run_intent=recorded,
            run_status=st.sampled_from(["complete", "failed", "in_progress", "odd"]),
            run_error=recorded,
            run_outputs=recorded | foreign,
            run_overhead_ms=st.floats(),
        )
    )
    spans = [span(RUN_SPAN_ID, None, {**identity, semconv.SCHEMA: 1, **head}, name=semconv.RUN_SPAN)]
    for number in range(draw(st.integers(0, 5))):
        parent = draw(st.sampled_from(spans)).span_id
        own = {semconv.STAGE_NAME: draw(stage_names), **draw(stage_facts)}
        stamped = draw(optional(stage_span_id=st.sampled_from(spans).map(lambda one: one.span_id)))
        body = draw(st.sampled_from([own, draw(model_calls), {}]))
        attributes = {**draw(st.sampled_from([identity, {}])), **stamped, **body}
        spans.append(span(f"{number + 1:016x}", parent, attributes, name="s"))
    return spans[draw(st.integers(0, 1)) :] if any(semconv.RUN_ID in one.attributes for one in spans[1:]) else spans


def _event(draw: st.DrawFn, seq: int) -> EventRecord:
    attributes = draw(bodies)
    name = semconv.SCORE_EVENT if semconv.SCORE_ID in attributes else "event"
    numbered = {semconv.SEQ: seq} if draw(st.integers(0, 2)) else {}
    return EventRecord(name=name, time_ns=draw(times), attributes={**attributes, **numbered})


@st.composite
def partials(draw: st.DrawFn, span: SpanRecord) -> SpanRecord:
    """The same span, earlier: not ended, some attributes, the first so many events."""
    kept = draw(st.integers(0, len(span.events)))
    partial = msgspec.structs.replace(span, end_ns=None, events=span.events[:kept])
    if span.end_ns is None:
        return partial
    named = {semconv.RUN_ID, semconv.SCHEMA, semconv.PROCESS, semconv.STAGE_NAME}
    attributes = {name: value for name, value in span.attributes.items() if name in named or draw(st.booleans())}
    return msgspec.structs.replace(partial, attributes=attributes)


def document(records: list[SpanRecord]) -> bytes:
    """The bytes of the run's file."""
    return encode(assemble(records, run_id=RUN_ID))


def through_sdk(records: list[SpanRecord]) -> list[SpanRecord]:
    """As an exporter in the same process gets them."""
    return [from_readable(to_readable(record)) for record in records]


def through_otlp(records: list[SpanRecord]) -> list[SpanRecord]:
    """As a Collector passes them on."""
    return from_otlp(ExportTraceServiceRequest.FromString(to_otlp(records).SerializeToString()))


def through_otlp_json(records: list[SpanRecord]) -> list[SpanRecord]:
    """As OTLP/JSON with ids in hex."""
    content = MessageToDict(to_otlp(records))
    for resource_spans in content.get("resourceSpans", []):
        for scope_spans in resource_spans["scopeSpans"]:
            for span in scope_spans["spans"]:
                for identified in (span, *span.get("links", [])):
                    identified |= {name: _hex(identified[name]) for name in ID_NAMES if name in identified}
    return from_otlp_json(json.dumps(content).encode())


def _hex(identifier: str) -> str:
    return base64.b64decode(identifier).hex()


WAYS: list[Callable[[list[SpanRecord]], list[SpanRecord]]] = [through_sdk, through_otlp, through_otlp_json]


@settings(max_examples=150, deadline=None)
@given(st.data(), runs())
def test_order_and_number_of_records_do_not_matter(data: st.DataObject, spans: list[SpanRecord]) -> None:
    """Shuffled, some of them twice: the same bytes."""
    again = data.draw(st.lists(st.sampled_from(spans), max_size=4))
    assert document(data.draw(st.permutations([*spans, *again]))) == document(spans)


@settings(max_examples=150, deadline=None)
@given(st.data(), runs())
def test_partial_copies_do_not_matter(data: st.DataObject, spans: list[SpanRecord]) -> None:
    """Copies from while a span was open, beside the complete one: the same bytes."""
    copies = [data.draw(partials(span)) for span in spans for _ in range(data.draw(st.integers(0, 2)))]
    assert document(data.draw(st.permutations([*spans, *copies]))) == document(spans)


@settings(max_examples=150, deadline=None)
@given(runs(), st.sampled_from(WAYS), st.integers(1, 4))
def test_the_way_does_not_matter(
    spans: list[SpanRecord], way: Callable[[list[SpanRecord]], list[SpanRecord]], size: int
) -> None:
    """As SDK spans, OTLP protobuf or OTLP/JSON, split into batches: the same bytes."""
    batches = [spans[start : start + size] for start in range(0, len(spans), size)]
    arrived = [record for batch in reversed(batches) for record in way(batch)]
    assert document(arrived) == document(spans)


@settings(max_examples=100, deadline=None)
@given(runs())
def test_every_document_is_valid_and_reads_back(spans: list[SpanRecord]) -> None:
    """By a strict JSON parser, and by our reader into the same content."""
    written = document(spans)
    assert json.loads(encode(decode(written, "test"))) == json.loads(written, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@settings(max_examples=100, deadline=None)
@given(runs())
def test_no_decision_is_lost(spans: list[SpanRecord]) -> None:
    """Every decision event is a decision of some stage, once."""
    given_in = sum(semconv.DECISION_TYPE in event.attributes for span in spans for event in span.events)
    found = assemble(spans, run_id=RUN_ID)
    members = sum(len(stage.decisions) for stage in found.stages.values())
    unreachable = sum(
        semconv.DECISION_TYPE in event.attributes
        for span in spans
        if semconv.RUN_ID not in span.attributes and spans[0].span_id != RUN_SPAN_ID
        for event in span.events
    )
    assert given_in - unreachable <= members <= given_in


@settings(max_examples=100, deadline=None)
@given(st.data(), runs())
def test_merging_merged_records_changes_nothing(data: st.DataObject, spans: list[SpanRecord]) -> None:
    """A store that merged already gives the same."""
    copies = [*spans, *(data.draw(partials(span)) for span in spans)]
    merged = merge(copies)
    assert len(merged) == len({span.span_id for span in spans})
    assert document(merge([*merged, *copies])) == document(copies)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted).map(tuple)))
def test_covered_time_counts_no_moment_twice(intervals: list[tuple[int, int]]) -> None:
    """The union of intervals, against counting its microseconds one by one."""
    microseconds = {moment for start, end in intervals for moment in range(start, end)}
    scaled = [(start * 1000, end * 1000) for start, end in intervals]
    assert covered_seconds(scaled) == len(microseconds) / 1_000_000
