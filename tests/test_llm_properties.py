"""Laws of counting calls, whatever the spans."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ire_otel.llm import summary
from ire_otel.llm.matching import matched
from ire_otel.records import SpanRecord
from tests.llm_spans import GENAI, OPENINFERENCE, calls, genai, openinference, span
from tests.run_records import RUN_SPAN_ID

STAGES = [None, "00000000000000c1", "00000000000000c2"]
IDS = [None, "r1", "r2", "r3"]

ticks = st.integers(0, 8)
tokens = st.none() | st.tuples(st.sampled_from([100, 110]), st.just(20))


@st.composite
def any_spans(draw: st.DrawFn) -> list[SpanRecord]:
    """Calls, and spans that are none, nested and beside each other in any way, also in circles."""
    numbers = range(draw(st.integers(1, 7)))
    ids = [f"{number + 1:016x}" for number in numbers]
    spans = []
    for number in numbers:
        start = draw(ticks)
        more: dict[str, Any] = {
            "span_id": ids[number],
            "parent": draw(st.sampled_from([RUN_SPAN_ID, None, *ids])),
            "stage": draw(st.sampled_from(STAGES)),
            "scope": draw(st.sampled_from(["a", "b", "c", None])),
            "status": draw(st.sampled_from(["UNSET", "ERROR"])),
        }
        length = draw(st.none() | ticks)
        end = None if length is None else start + length
        kind = draw(st.sampled_from(["genai", "genai", "openinference", "agent", "embeddings"]))
        if kind == "agent":
            spans.append(span("invoke_agent", start, end, gen_ai__operation__name="invoke_agent", **more))
        elif kind == "embeddings":
            spans.append(span("embeddings", start, end, gen_ai__operation__name="embeddings", **more))
        else:
            made = genai if kind == "genai" else openinference
            more["gen_ai__response__id"] = draw(st.sampled_from(IDS))
            spans.append(made(start, end, tokens=draw(tokens), **more))
    return spans


@st.composite
def pipelines(draw: st.DrawFn) -> list[SpanRecord]:
    """Calls as one instrumentor sees them, all with usage: parallel, equal, in stages, with or without an id."""
    spans = []
    for number in range(draw(st.integers(1, 6))):
        start = draw(ticks)
        spans.append(
            genai(
                start,
                start + draw(st.integers(1, 8)),
                tokens=draw(st.sampled_from([(100, 20), (110, 20)])),
                span_id=f"{number + 1:016x}",
                stage=draw(st.sampled_from(STAGES)),
                gen_ai__response__id=draw(st.sampled_from([None, f"r{number}"])),
            )
        )
    return spans


@st.composite
def views(draw: st.DrawFn, seen: SpanRecord, scope: str) -> SpanRecord:
    """Another view of a call: inside its span, or beside it with its id, or beside it with its tokens."""
    attributes = dict(seen.attributes)
    where = draw(st.sampled_from(["inside", "same id", "same tokens"]))
    if where == "inside":
        for name in draw(st.sets(st.sampled_from(sorted(attributes)))):
            if "usage" in name or "response" in name:
                del attributes[name]
    if where == "same tokens" or draw(st.booleans()):
        # Without an id, one beside it is found by its tokens.
        attributes.pop("gen_ai.response.id", None)
    return msgspec.structs.replace(
        seen,
        span_id=f"{int(seen.span_id, 16) + 0x1000:016x}",
        parent_span_id=seen.span_id if where == "inside" else seen.parent_span_id,
        scope_name=scope,
        attributes=attributes,
    )


@settings(max_examples=300, deadline=None)
@given(st.data(), any_spans())
def test_the_order_of_spans_does_not_matter(data: st.DataObject, spans: list[SpanRecord]) -> None:
    """The same calls, in the same order."""
    assert calls(*data.draw(st.permutations(spans))) == calls(*spans)


@settings(max_examples=300, deadline=None)
@given(any_spans())
def test_there_are_never_more_calls_than_spans_and_never_none_for_some(spans: list[SpanRecord]) -> None:
    """Every span of a call is in exactly one call, and no call has two response ids."""
    found = calls(*spans)
    kinds = [call.kind for one in spans for call in calls(one)]
    for kind in ("call", "embedding"):
        counted = sum(call.kind == kind for call in found)
        assert min(1, kinds.count(kind)) <= counted <= kinds.count(kind)
    ids = {one.attributes.get("gen_ai.response.id") for one in spans if calls(one)} - {None}
    assert sum(call.kind == "call" for call in found) >= len(ids)


@settings(max_examples=300, deadline=None)
@given(st.data(), pipelines())
def test_another_view_of_a_call_changes_no_number(data: st.DataObject, spans: list[SpanRecord]) -> None:
    """One more view, or one of each call: calls and tokens are the same."""
    seen = data.draw(st.lists(st.sampled_from(spans), unique_by=lambda one: one.span_id))
    again = [data.draw(views(one, OPENINFERENCE)) for one in seen]
    assert summary(calls(*spans, *again)) == summary(calls(*spans))


@settings(max_examples=200, deadline=None)
@given(st.data(), pipelines())
def test_a_third_view_inside_a_call_changes_no_number(data: st.DataObject, spans: list[SpanRecord]) -> None:
    """Three instrumentors at once."""
    both = [*spans, *(data.draw(views(one, OPENINFERENCE)) for one in spans)]
    third = msgspec.structs.replace(
        one := data.draw(st.sampled_from(both)),
        span_id=f"{int(one.span_id, 16) + 0x100000:016x}",
        parent_span_id=one.span_id,
        scope_name="com.anthropic.sdk.python",
    )
    assert summary(calls(*both, third)) == summary(calls(*both))
    assert {call.scopes for call in calls(*both)} == {tuple(sorted((GENAI, OPENINFERENCE)))}


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5))).map(sorted))
def test_a_matching_is_as_large_as_can_be(edges: list[tuple[int, int]]) -> None:
    """Against trying every way; no end is used twice."""
    found = matched(edges)
    assert set(found) <= set(edges)
    assert len({left for left, _ in found}) == len({right for _, right in found}) == len(found) == _largest(edges)


def _largest(edges: list[tuple[int, int]]) -> int:
    if not edges:
        return 0
    (left, right), rest = edges[0], edges[1:]
    apart = [edge for edge in rest if edge[0] != left and edge[1] != right]
    return max(1 + _largest(apart), _largest(rest))
