"""SpanRecords to SDK spans and OTLP, and back."""

import base64
import json
import logging
from typing import Any

import msgspec
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ire_otel.records import EventRecord, LinkRecord, SpanRecord
from ire_otel.sdk_spans import from_readable, to_readable
from ire_otel_exporters.otlp import from_otlp, from_otlp_json, to_otlp
from tests.run_records import at
from tests.sample_run import sample_run

FULL = SpanRecord(
    trace_id="5b8efff798038103d269b633813fc60c",
    span_id="00f067aa0ba902b7",
    parent_span_id="00000000000000ff",
    name="chat",
    kind="CLIENT",
    start_ns=at(1),
    end_ns=at(2),
    status="ERROR",
    status_description="refused",
    attributes={
        "s": "ü",
        "b": True,
        "i": 2**63 - 1,
        "f": 1.0,
        "l": ["a", "b"],
        "m": {"x": [1, {"y": b"\x00"}]},
        "n": None,
    },
    events=(EventRecord(name="chunk", time_ns=at(1.5), attributes={"n": 1}, dropped_attributes=3),),
    links=(LinkRecord(trace_id="00000000000000000000000000000001", span_id="0000000000000002", attributes={"a": 1}),),
    scope_name="somebody",
    scope_version="1.2",
    resource={"service.name": "engine", "process.pid": 7},
    dropped_attributes=1,
    dropped_events=2,
    dropped_links=4,
)

LOOSE = {
    "traceId": "1",
    "spanId": "2",
    "kind": "SPAN_KIND_CLIENT",
    "startTimeUnixNano": 1_000,
    "endTimeUnixNano": "2000",
    "status": {"code": 2},
    "attributes": [
        {"key": "i", "value": {"intValue": 5}},
        {"key": "j", "value": {"intValue": "6"}},
        {"key": "d", "value": {"doubleValue": 2}},
        {
            "key": "list",
            "value": {
                "arrayValue": {
                    "values": [
                        {"stringValue": "a"},
                        {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": True}}]}},
                    ]
                }
            },
        },
    ],
    "somethingNew": 1,
}


def as_json(records: list[SpanRecord]) -> dict[str, Any]:
    """The OTLP/JSON of records as protobuf's own JSON writes it: base64 ids, enum names, 64-bit integers as strings."""
    content: dict[str, Any] = MessageToDict(to_otlp(records))
    return content


@pytest.mark.parametrize("records", [[FULL], sample_run(), [msgspec.structs.replace(FULL, end_ns=None)]])
def test_every_way_and_back_gives_the_same_records(records: list[SpanRecord]) -> None:
    """SDK spans, OTLP protobuf and OTLP/JSON lose nothing that a record holds, dropped counts included."""
    assert [from_readable(to_readable(record)) for record in records] == records
    over_the_wire = ExportTraceServiceRequest.FromString(to_otlp(records).SerializeToString())
    assert from_otlp(over_the_wire) == records
    assert from_otlp_json(as_json(records)) == records
    assert from_otlp_json(json.dumps(as_json(records)).encode()) == records


def test_spans_of_the_real_sdk() -> None:
    """What the SDK made and what its limits dropped; sequences come back as lists, as over OTLP."""
    exporter = InMemorySpanExporter()
    limits = SpanLimits(max_events=2, max_span_attributes=2)
    provider = TracerProvider(resource=Resource({"service.name": "engine"}), span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("scope", "2.0")
    with (
        tracer.start_as_current_span("outer", kind=trace.SpanKind.SERVER),
        tracer.start_as_current_span("inner") as span,
    ):
        span.set_attributes({"a": 1, "tags": ["x", "y"], "text": "bad \ud800"})
        for number in range(5):
            span.add_event(f"e{number}", {"n": number})
    inner, outer = (from_readable(one) for one in exporter.get_finished_spans())
    assert inner.parent_span_id == outer.span_id
    assert (outer.kind, outer.parent_span_id, outer.scope_version) == ("SERVER", None, "2.0")
    assert (inner.dropped_attributes, inner.dropped_events) == (1, 3)
    assert inner.attributes == {"tags": ["x", "y"], "text": "bad \ufffd"}
    assert [event.name for event in inner.events] == ["e3", "e4"]
    assert from_otlp(to_otlp([inner, outer])) == [inner, outer]


def test_an_open_span_of_the_sdk_is_open() -> None:
    """Also over OTLP, where such a span has end time 0."""
    span = TracerProvider().get_tracer("scope").start_span("open")
    record = from_readable(span)  # type: ignore[arg-type] # the SDK's tracer gives SDK spans
    assert record.end_ns is None
    assert from_otlp(to_otlp([record])) == [record]


@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [
        ("5B8EFFF798038103D269B633813FC60C", "EEE19B7EC3C1B174"),
        (base64.b64encode(bytes.fromhex("5b8efff798038103d269b633813fc60c")).decode(), "7uGbfsPBsXQ="),
        (base64.b64encode(bytes.fromhex("5b8efff798038103d269b633813fc60c")).decode().rstrip("="), "7uGbfsPBsXQ"),
    ],
)
def test_ids_in_json_are_hex_or_base64(trace_id: str, span_id: str) -> None:
    """The standard says hex; protobuf's own JSON says base64."""
    (record,) = from_otlp_json(
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": trace_id, "spanId": span_id}]}]}]}
    )
    assert (record.trace_id, record.span_id) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")


def test_short_and_zero_ids() -> None:
    """Some writers leave out zeros at the left; an id of zeros is no id."""
    span = {"traceId": "ab", "spanId": "c", "parentSpanId": "0000000000000000"}
    (record,) = from_otlp_json({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    assert (record.trace_id, record.span_id, record.parent_span_id) == (f"{'ab':0>32}", f"{'c':0>16}", None)


def test_spans_without_ids_are_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing could tell them apart."""
    spans = [{"traceId": "00", "spanId": "1"}, {"name": "x"}, {"traceId": "1", "spanId": "1"}]
    with caplog.at_level(logging.WARNING):
        assert len(from_otlp_json({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})) == 1
    assert [record.getMessage() for record in caplog.records] == ["2 spans without a trace id or span id were left out"]


@pytest.mark.parametrize("outer", ["batches", "resourceSpans", "resource_spans"])
@pytest.mark.parametrize("scopes", ["scopeSpans", "scope_spans", "instrumentationLibrarySpans"])
def test_other_outer_keys_and_loose_types(outer: str, scopes: str) -> None:
    """As older tools and Jaeger's query service write it: numbers for times and kinds, names for enums."""
    (record,) = from_otlp_json({"result": {outer: [{"resource": None, scopes: [{"spans": [LOOSE]}]}]}})
    assert (record.kind, record.status, record.start_ns, record.end_ns) == ("CLIENT", "ERROR", 1_000, 2_000)
    assert record.attributes == {"i": 5, "j": 6, "d": 2.0, "list": ["a", {"k": True}]}


def test_nothing_of_the_callers_is_changed() -> None:
    """The mapping given is read, not rewritten."""
    content = as_json([FULL])
    before = json.dumps(content)
    from_otlp_json(content)
    assert json.dumps(content) == before


def test_a_lone_surrogate_costs_one_character() -> None:
    """Not the whole request."""
    span = {"traceId": "1", "spanId": "2", "name": "a\ud800b"}
    assert from_otlp_json({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})[0].name == "a\ufffdb"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"resourceSpans": 5}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "not an id", "spanId": "1"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "1", "spanId": "1", "kind": []}]}]}]}',
        b'{"resourceSpans": [7]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_otlp_is_one_clear_error(body: bytes) -> None:
    """A ValueError that says what was wrong, whatever it was."""
    with pytest.raises(ValueError, match=r"not an OTLP/JSON trace request: .*; send resourceSpans"):
        from_otlp_json(body)


def test_a_span_without_a_context_is_an_error() -> None:
    """The SDK allows it; a record cannot."""
    with pytest.raises(ValueError, match="span 'lost' has no span context"):
        from_readable(ReadableSpan("lost"))
