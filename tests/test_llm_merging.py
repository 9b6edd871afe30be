"""The same call seen twice counts once; two calls count twice. Each trap was met in recordings of real pipelines."""

from tests.llm_spans import MODEL, calls, genai, openinference, span

OUTER, INNER, NEXT = "00000000000000a1", "00000000000000a2", "00000000000000a3"


def test_a_call_inside_another_is_the_same_call_and_its_fields_are_united() -> None:
    """One view may lack the tokens, the other the id."""
    outer = genai(0, 10, tokens=None, span_id=OUTER, gen_ai__response__id="r1", gen_ai__request__stream=True)
    (call,) = calls(outer, openinference(1, 9, parent=OUTER))
    assert (call.response_id, call.input_tokens, call.output_tokens, call.streamed) == ("r1", 100, 20, True)
    assert (call.request_model, call.response_model) == ("gpt-4o", MODEL)
    assert len(call.scopes) == 2


def test_a_call_may_be_seen_three_times_in_one_scope() -> None:
    """`call_llm` > `generate_content` > `chat`, and a span of plumbing between them."""
    spans = [
        genai(0, 10, span_id=OUTER, tokens=None),
        span("POST", 1, 9, parent=OUTER, span_id="00000000000000ff", scope="httpx"),
        genai(1, 9, span_id=INNER, parent="00000000000000ff"),
        genai(2, 8, parent=INNER),
    ]
    assert len(calls(*spans)) == 1


def test_a_call_under_one_that_had_ended_is_a_call_of_its_own() -> None:
    """A stream leaves its ended span behind as the current one, and later calls hang under it."""
    assert len(calls(genai(0, 10, span_id=OUTER), genai(10, 20, parent=OUTER), genai(25, 30, parent=OUTER))) == 3


def test_another_response_id_inside_a_call_is_another_call() -> None:
    """A call made while a stream is read runs inside that stream's span."""
    spans = [
        genai(0, 10, span_id=OUTER, gen_ai__response__id="r1"),
        openinference(1, 9, parent=OUTER, gen_ai__response__id="r1"),
        openinference(3, 6, parent=OUTER, gen_ai__response__id="r2", tokens=(50, 5)),
    ]
    assert [(call.response_id, call.input_tokens) for call in calls(*spans)] == [("r1", 100), ("r2", 50)]


def test_two_calls_side_by_side_inside_a_third_are_two() -> None:
    """A wrapper that asked again: it is one with the answer that has its tokens."""
    spans = [
        genai(0, 10, span_id=OUTER, scope="wrapper"),
        openinference(1, 4, parent=OUTER, tokens=None, status="ERROR"),
        openinference(5, 9, parent=OUTER),
    ]
    assert [(call.error, call.input_tokens) for call in calls(*spans)] == [(None, 100), ("ERROR", None)]


def test_a_call_in_a_tool_or_an_agent_inside_a_call_is_another_one() -> None:
    """What a tool does is work of its own."""
    for work in ({"gen_ai__operation__name": "execute_tool"}, {"openinference__span__kind": "AGENT"}):
        spans = [
            genai(0, 10, span_id=OUTER),
            span("work", 2, 8, parent=OUTER, span_id=INNER, **work),
            openinference(3, 7, parent=INNER),
        ]
        assert len(calls(*spans)) == 2


def test_one_response_id_in_two_scopes_is_one_call() -> None:
    """Wherever the spans hang, and though one of them ended early."""
    spans = [genai(0, 10, gen_ai__response__id="r1"), openinference(12, 13, parent=None, gen_ai__response__id="r1")]
    assert len(calls(*spans)) == 1


def test_one_response_id_twice_in_one_scope_is_two_calls() -> None:
    """Some servers give every answer the same id; then two scopes are matched by time as well."""
    alone = [genai(0, 10, gen_ai__response__id="x"), genai(20, 30, gen_ai__response__id="x")]
    beside = [openinference(1, 9, gen_ai__response__id="x"), openinference(21, 29, gen_ai__response__id="x")]
    assert len(calls(*alone)) == 2
    assert len(calls(*alone, *beside)) == 2


def test_siblings_of_two_scopes_are_matched_one_to_one() -> None:
    """Parallel calls of one model, where only the tokens tell them apart."""
    sizes = [(100, 20), (110, 20), (120, 20), (120, 20)]
    seen = [genai(number, 20 + number, tokens=size) for number, size in enumerate(sizes)]
    again = [
        openinference(number + 0.5, 19 + number, tokens=size, parent=None)
        for number, size in enumerate(reversed(sizes))
    ]
    found = calls(*seen, *again)
    assert len(found) == 4
    assert sorted(call.input_tokens or 0 for call in found) == [100, 110, 120, 120]
    assert all(len(call.scopes) == 2 for call in found)


def test_as_many_siblings_as_possible_find_a_partner() -> None:
    """The nearest in time must not take the only partner of another."""
    spans = [genai(0, 10), genai(8, 30), openinference(7, 12), openinference(20, 29)]
    assert len(calls(*spans)) == 2
    # The first is nearest to what is the second's only partner.
    spans = [genai(0, 10), genai(9, 11), openinference(1, 12), openinference(0, 5)]
    assert len(calls(*spans)) == 2


def test_siblings_that_differ_are_different_calls() -> None:
    """In tokens, in model, in stage, in time."""
    one = genai(0, 10, stage="00000000000000c1")
    assert len(calls(one, openinference(1, 9, tokens=(101, 20), stage="00000000000000c1"))) == 2
    assert len(calls(one, openinference(1, 9, llm__model_name="gpt-4", stage="00000000000000c1"))) == 2
    assert len(calls(one, openinference(1, 9, stage="00000000000000c2"))) == 2
    assert len(calls(one, openinference(10, 19, stage="00000000000000c1"))) == 2
    assert len(calls(one, openinference(1, 9, stage="00000000000000c1"))) == 1


def test_a_stream_without_usage_is_matched_where_nothing_speaks_against_it() -> None:
    """One instrumentor misses what the other saw; an alias and a dated model may be one."""
    (call,) = calls(genai(0, 10), openinference(1, 5, tokens=None, llm__model_name="openai/gpt-4o"))
    assert call.input_tokens == 100


def test_siblings_of_one_scope_are_two_calls() -> None:
    """However alike they are."""
    assert len(calls(genai(0, 10), genai(0, 10, span_id=NEXT))) == 2


def test_embeddings_are_merged_apart_from_calls() -> None:
    """An embedding inside a call is an embedding."""
    embedding = {"gen_ai__operation__name": "embeddings", "gen_ai__request__model": "text-embedding-3-small"}
    spans = [
        genai(0, 10, span_id=OUTER),
        span("embeddings", 1, 5, parent=OUTER, span_id=INNER, **embedding),
        span("CreateEmbeddings", 2, 4, parent=INNER, scope="oi", openinference__span__kind="EMBEDDING"),
    ]
    assert [call.kind for call in calls(*spans)] == ["call", "embedding"]


def test_a_span_that_never_ended_is_a_call() -> None:
    """The process died while it waited for the answer."""
    (call,) = calls(genai(0, None, tokens=None, span_id=OUTER), openinference(1, None, tokens=None, parent=OUTER))
    assert (call.end_ns, call.usage_known) == (None, False)


def test_parents_that_go_round_in_a_circle_do_no_harm() -> None:
    """As broken telemetry may have them."""
    assert len(calls(genai(0, 10, span_id=OUTER, parent=INNER), openinference(1, 9, span_id=INNER, parent=OUTER))) == 1
