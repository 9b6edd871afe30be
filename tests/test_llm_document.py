"""Where the model calls of a run end up: in the document, in the row, on the terminal."""

import io
from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from rich.console import Console

from ire_otel.cli.waterfall import overview
from ire_otel.model import LlmCalls, TraceDocument
from ire_otel.records import SpanRecord
from ire_otel.row import row
from tests.llm_spans import MODEL, genai, openinference, span
from tests.run_records import attempts, document, run_span, stage_span

STAGE, OTHER = "00000000000000c1", "00000000000000c2"
MESSAGES = '[{{"role": "user", "parts": [{{"type": "text", "content": "{}"}}]}}]'
COST = (100 * 2.5 + 20 * 10) / 1e6
"""US dollars for 100 input and 20 output tokens of gpt-4o."""


def synthesis(*spans: SpanRecord, **said: Any) -> TraceDocument:
    """The document of a run with one stage, in which these calls were made."""
    return document(run_span(), stage_span("synthesis", 0, 50, span_id=STAGE, **said), *spans)


def seen(calls: LlmCalls | msgspec.UnsetType) -> LlmCalls:
    """The calls, of which there must be some."""
    assert isinstance(calls, LlmCalls)
    return calls


def test_a_run_without_calls_says_nothing_of_calls() -> None:
    """Nobody knows whether it made none, or nobody was looking."""
    found = synthesis(span("GET", 1, 2, scope="httpx"))
    assert found.metadata.llm_calls is UNSET
    assert found.stages["synthesis"].llm_calls is UNSET
    assert row(found, None).run.llm_call_count is None


def test_calls_are_counted_for_the_run_and_for_the_stage_they_were_made_in() -> None:
    """By the stamp, whatever their parent; one in no stage is the run's alone."""
    found = synthesis(
        genai(1, 2, stage=STAGE, parent=None),
        genai(3, 4, stage=STAGE, tokens=None),
        genai(5, 6, status="ERROR", tokens=None, gen_ai__response__model=None),
        span("embeddings", 7, 8, stage=STAGE, gen_ai__operation__name="embeddings"),
        span("retriever", 8, 9, openinference__span__kind="RETRIEVER"),
    )
    of_run, of_stage = seen(found.metadata.llm_calls), seen(found.stages["synthesis"].llm_calls)
    assert (of_run.calls, of_run.calls_without_usage, of_run.errors) == (3, 2, 1)
    assert (of_run.embeddings, of_run.retrievals) == (1, 1)
    assert (of_stage.calls, of_stage.calls_without_usage, of_stage.embeddings, of_stage.retrievals) == (2, 1, 1, 0)
    assert [(used.model, used.calls, used.errors) for used in of_run.by_model] == [("gpt-4o", 1, 1), (MODEL, 2, 0)]


def test_a_call_belongs_to_the_innermost_stage_and_to_its_attempt() -> None:
    """Without a stamp, by its parents."""
    outer = stage_span("synthesis", 0, 50, span_id=STAGE)
    first, second = (
        stage_span("rewriting", at, at + 10, parent=STAGE, span_id=span_id)
        for at, span_id in ((1, OTHER), (20, "c" * 16))
    )
    found = document(run_span(), outer, first, second, genai(2, 3, parent=OTHER), genai(21, 22, stage="c" * 16))
    assert found.stages["synthesis"].llm_calls is UNSET
    assert [seen(attempt.llm_calls).calls for attempt in attempts(found.stages["rewriting"])] == [1, 1]


def test_calls_say_what_the_stage_did_not() -> None:
    """Model, tokens with their shares, cost and prompts."""
    made = genai(
        1,
        2,
        stage=STAGE,
        gen_ai__usage__cache_read__input_tokens=0,
        gen_ai__system_instructions='[{"type": "text", "content": "be brief"}]',
        gen_ai__input__messages=MESSAGES.format("what do bees make?"),
    )
    again = genai(3, 4, stage=STAGE, gen_ai__input__messages=MESSAGES.format("and ants?"))
    stage = synthesis(made, again).stages["synthesis"]
    assert stage.model == MODEL
    assert stage.token_usage
    assert (stage.token_usage.input_tokens, stage.token_usage.total_tokens) == (200, 240)
    assert (stage.token_usage.cache_read_tokens, stage.token_usage.cache_write_tokens) == (0, UNSET)
    assert stage.cost_usd == pytest.approx(2 * COST)
    assert stage.prompts == {
        "system_prompt": "be brief",
        "user_message": "what do bees make?",
        "user_message #2": "and ants?",
    }


def test_what_the_stage_said_itself_stands() -> None:
    """Typed calls first, then outputs, then model calls; each field by itself."""
    call = genai(1, 2, stage=STAGE, gen_ai__input__messages=MESSAGES.format("seen"))
    typed = synthesis(call, stage_model="typed", stage_input_tokens=7, stage_prompt_={"user_message": "given"})
    stage = typed.stages["synthesis"]
    assert stage.token_usage
    assert (stage.model, stage.token_usage.input_tokens, stage.prompts) == ("typed", 7, {"user_message": "given"})
    assert stage.cost_usd == pytest.approx(COST)
    reported = synthesis(call, stage_outputs={"model": "reported", "cost_usd": 0.5}).stages["synthesis"]
    assert (reported.model, reported.cost_usd) == ("reported", 0.5)
    assert seen(reported.llm_calls).cost_usd == pytest.approx(COST)


def test_the_model_with_most_tokens_is_the_stages() -> None:
    """A small model that helps does not hide the one that writes."""
    small = [genai(at, at + 1, stage=STAGE, tokens=(10, 1), gen_ai__response__model="gpt-4o-mini") for at in (1, 3, 5)]
    assert synthesis(*small, genai(7, 9, stage=STAGE)).stages["synthesis"].model == MODEL


@pytest.mark.parametrize(
    ("said", "cost"),
    [
        ({}, COST),
        ({"gen_ai__provider__name": "az.ai.openai"}, COST),
        ({"gen_ai__provider__name": "nobody"}, COST),
        ({"gen_ai__usage__cache_read__input_tokens": 40}, (60 * 2.5 + 40 * 1.25 + 20 * 10) / 1e6),
        ({"gen_ai__response__model": "tiny-2026"}, None),
        ({"gen_ai__response__model": None}, None),
        ({"tokens": None}, None),
    ],
)
def test_cost_is_by_what_answered(said: dict[str, Any], cost: float | None) -> None:
    """The provider is a hint; what was asked for may be an alias or a deployment's name, so it has no price."""
    found = seen(synthesis(genai(1, 2, stage=STAGE, **said)).metadata.llm_calls)
    assert found.cost_usd == (None if cost is None else pytest.approx(cost))


def test_the_row_has_totals_and_a_row_for_each_model() -> None:
    """What stages say, and calls in no stage; a stage that only names a model has its own."""
    found = document(
        run_span(),
        stage_span("synthesis", 0, 50, span_id=STAGE, stage_input_tokens=90, stage_model="typed"),
        stage_span("rubric", 51, 52, stage_model="own", stage_output_tokens=3),
        genai(1, 2, stage=STAGE),
        genai(3, 4, tokens=(1_000, 50)),
        openinference(5, 6, tokens=None),
    )
    made = row(found, None)
    assert (made.run.llm_call_count, made.run.llm_calls_without_usage) == (3, 1)
    assert (made.run.input_tokens, made.run.output_tokens) == (90 + 1_000, 3 + 50)
    assert made.run.cost_usd == pytest.approx(COST + (1_000 * 2.5 + 50 * 10) / 1e6)
    assert [(used.model, used.calls, used.input_tokens, used.output_tokens) for used in made.model_usage] == [
        (MODEL, 3, 1_100, 70),
        ("own", None, None, 3),
    ]


def test_unknown_tokens_are_null_in_the_row() -> None:
    """Never zero."""
    made = row(synthesis(genai(1, 2, stage=STAGE, tokens=None)), None)
    assert (made.run.llm_call_count, made.run.llm_calls_without_usage) == (1, 1)
    assert (made.run.input_tokens, made.run.output_tokens, made.run.cost_usd) == (None, None, None)
    assert [(used.calls, used.input_tokens, used.cost_usd) for used in made.model_usage] == [(1, None, None)]


def test_the_waterfall_tells_calls_tokens_and_cost() -> None:
    """Of the run and of its stages."""
    found = synthesis(
        genai(1, 2, stage=STAGE), genai(3, 4, stage=STAGE), openinference(5, 6, status="ERROR", tokens=None)
    )
    console = Console(file=io.StringIO(), width=200)
    console.print(overview(found))
    text = console.file.getvalue()  # type: ignore[attr-defined] # a StringIO
    assert "3 model calls  1 failed  1 without usage  200 tokens in, 40 out  $0.0009" in text
    assert "gpt-4o-2024-08-06  200 tokens in, 40 out  $0.0009  2 model calls" in text
