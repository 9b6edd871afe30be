"""Which spans are model calls, and what they say, in the words of every instrumentation that was met."""

from typing import Any

import pytest

from ire_otel.records import SpanRecord
from tests.llm_spans import calls, genai, openinference, span


def named(name: str = "x", **attributes: Any) -> SpanRecord:
    return span(name, 0, 1, **attributes)


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (named(gen_ai__operation__name="chat"), "call"),
        (named(gen_ai__operation__name="generate_content"), "call"),
        (named(gen_ai__operation__name="text_completion"), "call"),
        (named(gen_ai__operation__name="embeddings"), "embedding"),
        (named(gen_ai__operation__name="retrieval"), "retrieval"),
        (named(openinference__span__kind="LLM"), "call"),
        (named(openinference__span__kind="EMBEDDING"), "embedding"),
        (named(openinference__span__kind="RETRIEVER"), "retrieval"),
        (named(llm__request__type="chat"), "call"),
        (named(llm__request__type="embedding"), "embedding"),
        (named(gen_ai__system="openai", gen_ai__request__model="gpt-4"), "call"),
        (named(gen_ai__request__model="gpt-4", gen_ai__usage__prompt_tokens=3), "call"),
        (named(gen_ai__operation__name="generate_content", openinference__span__kind="LLM"), "call"),
    ],
)
def test_a_call_is_recognised_in_every_vocabulary(made: SpanRecord, kind: str) -> None:
    """By its operation, its kind, or in older names by what it carries."""
    assert [call.kind for call in calls(made)] == [kind]


@pytest.mark.parametrize(
    "made",
    [
        named(gen_ai__operation__name="invoke_agent", gen_ai__usage__input_tokens=9, gen_ai__request__model="gpt-4o"),
        named(gen_ai__operation__name="invoke_workflow"),
        named(gen_ai__operation__name="create_agent", gen_ai__request__model="gpt-4o"),
        named(gen_ai__operation__name="execute_tool"),
        named(gen_ai__operation__name="fetch_response", gen_ai__usage__input_tokens=9),
        named(openinference__span__kind="AGENT", llm__token_count__prompt=9, llm__model_name="gpt-4o"),
        named(openinference__span__kind="CHAIN", gen_ai__operation__name="chat"),
        named(traceloop__span__kind="workflow", gen_ai__system="openai", gen_ai__request__model="gpt-4o"),
        named("invoke_agent helper", gen_ai__system="openai", gen_ai__request__model="gpt-4o"),
        named("anthropic.messages.count_tokens", gen_ai__provider__name="anthropic", gen_ai__request__model="claude"),
        named("GET /v1/models", gen_ai__provider__name="anthropic"),
        named("SELECT", db__system="sqlite"),
    ],
)
def test_what_sums_up_calls_or_is_none_is_not_counted(made: SpanRecord) -> None:
    """Agents, workflows, chains and tools; counting tokens, or fetching an answer again, is no call either."""
    assert calls(made) == []


@pytest.mark.parametrize(
    "said",
    [
        {"gen_ai__usage__cache_read__input_tokens": 40, "gen_ai__usage__cache_write__input_tokens": 10},
        {"gen_ai__usage__cache_read_input_tokens": 40, "gen_ai__usage__cache_creation__input_tokens": 10},
        {
            "gen_ai__usage__cache_read__input_tokens": 40,
            "anthropic__usage__cache_creation__ephemeral_5m_input_tokens": 3,
            "anthropic__usage__cache_creation__ephemeral_1h_input_tokens": 7,
        },
        {
            "llm__token_count__prompt_details__cache_read": 40,
            "llm__token_count__prompt_details__cache_write": 10,
        },
    ],
)
def test_cache_tokens_are_part_of_the_input(said: dict[str, Any]) -> None:
    """In whatever names."""
    (call,) = calls(genai(0, 1, **said))
    assert (call.input_tokens, call.cache_read_tokens, call.cache_write_tokens) == (100, 40, 10)


def test_cache_tokens_that_were_left_out_of_the_input_are_added() -> None:
    """Fewer input tokens than cache tokens cannot include those."""
    (call,) = calls(genai(0, 1, tokens=(5, 20), gen_ai__usage__cache_read__input_tokens=40))
    assert (call.input_tokens, call.total_tokens) == (45, 65)


@pytest.mark.parametrize(
    "said",
    [
        {"gen_ai__usage__prompt_tokens": 7, "gen_ai__usage__completion_tokens": 2, "llm__usage__total_tokens": 9},
        {"llm__usage__prompt_tokens": 7, "llm__usage__completion_tokens": 2},
        {"llm__token_count__prompt": 7.0, "llm__token_count__completion": 2},
    ],
)
def test_older_names_of_tokens(said: dict[str, Any]) -> None:
    """They mean the same."""
    (call,) = calls(named(llm__request__type="chat", gen_ai__usage__reasoning_tokens=1, **said))
    assert (call.input_tokens, call.output_tokens, call.total_tokens, call.reasoning_tokens) == (7, 2, 9, 1)


@pytest.mark.parametrize("odd", [-1, 1.5, "7", True, 2**60, [7]])
def test_what_is_no_count_is_unknown(odd: Any) -> None:
    """Rather than zero, or a guess."""
    (call,) = calls(genai(0, 1, gen_ai__usage__input_tokens=odd))
    assert call.input_tokens is None
    assert not call.usage_known


def test_a_failed_call_has_its_model_from_the_request() -> None:
    """OpenInference has it among the request's parameters only."""
    made = named(openinference__span__kind="LLM", llm__invocation_parameters='{"model": "gpt-4o", "stream": true}')
    (call,) = calls(made)
    assert (call.model, call.streamed, call.response_model) == ("gpt-4o", True, None)


def test_an_error_is_named_by_its_type() -> None:
    """Else by the status, however the instrumentor says it."""
    typed = genai(0, 1, status="ERROR", error__type="openai.RateLimitError")
    assert [call.error for call in calls(typed, openinference(5, 6, status="ERROR"))] == [
        "openai.RateLimitError",
        "ERROR",
    ]


SYSTEM, USER = "Answer in one sentence.", "what do bees make?"


@pytest.mark.parametrize(
    "said",
    [
        {
            "gen_ai.system_instructions": f'[{{"type": "text", "content": "{SYSTEM}"}}]',
            "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "first"}]},'
            '{"role": "assistant", "parts": [{"type": "tool_call", "name": "x"}]},'
            f'{{"role": "user", "parts": [{{"type": "text", "content": "{USER}"}}, {{"type": "blob"}}]}}]',
        },
        {
            "gen_ai.input.messages": f'[{{"role": "system", "parts": [{{"type": "text", "content": "{SYSTEM}"}}]}},'
            f'{{"role": "user", "content": "{USER}"}}]'
        },
        {
            "llm.input_messages.10.message.role": "user",
            "llm.input_messages.10.message.content": USER,
            "llm.input_messages.0.message.role": "system",
            "llm.input_messages.0.message.contents.0.message_content.text": SYSTEM,
            "llm.input_messages.2.message.role": "user",
            "llm.input_messages.2.message.content": "first",
        },
        {
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": SYSTEM,
            "gen_ai.prompt.1.role": "user",
            "gen_ai.prompt.1.content": USER,
        },
    ],
)
def test_captured_prompts_are_read(said: dict[str, Any]) -> None:
    """The system prompt, and what the user said last."""
    (call,) = calls(genai(0, 1, **said))
    assert call.prompts == {"system_prompt": SYSTEM, "user_message": USER}


def test_messages_that_were_cut_on_their_way_are_kept_as_they_are() -> None:
    """A length limit leaves no JSON."""
    cut = '[{"role": "user", "parts": [{"type": "te'
    (call,) = calls(genai(0, 1, gen_ai__input__messages=cut))
    assert call.prompts == {"input_messages": cut}


def test_a_message_that_looks_like_json_is_text() -> None:
    """Nobody encoded it."""
    said: Any = {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "[1]"}
    (call,) = calls(openinference(0, 1, **said))
    assert call.prompts == {"user_message": "[1]"}
