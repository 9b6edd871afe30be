"""Spans of model calls, as instrumentation writes them."""

from typing import Any

from ire_otel import semconv
from ire_otel.llm import LlmCall, model_calls
from ire_otel.records import SpanRecord
from tests.run_records import RUN_ID, RUN_SPAN_ID, TRACE_ID, at, hash_of

GENAI = "opentelemetry.instrumentation.genai.openai"
OPENINFERENCE = "openinference.instrumentation.openai"
MODEL = "gpt-4o-2024-08-06"


def span(
    name: str,
    start: float,
    end: float | None,
    *,
    scope: str | None = GENAI,
    parent: str | None = RUN_SPAN_ID,
    stage: str | None = None,
    status: Any = "UNSET",
    span_id: str | None = None,
    **attributes: Any,
) -> SpanRecord:
    """A span of other instrumentation inside a run; in names of attributes `__` stands for a dot."""
    said = {key.replace("__", "."): value for key, value in attributes.items() if value is not None}
    stamps = {semconv.RUN_ID: RUN_ID} | ({} if stage is None else {semconv.STAGE_SPAN_ID: stage})
    return SpanRecord(
        trace_id=TRACE_ID,
        span_id=span_id or f"{hash_of(f'{scope}{name}{start}'):016x}",
        parent_span_id=parent,
        name=name,
        start_ns=at(start),
        end_ns=None if end is None else at(end),
        status=status,
        attributes=stamps | said,
        scope_name=scope,
    )


def genai(start: float, end: float | None, *, tokens: tuple[int, int] | None = (100, 20), **more: Any) -> SpanRecord:
    """A call in today's names."""
    given, made = tokens or (None, None)
    said: dict[str, Any] = {
        "gen_ai__operation__name": "chat",
        "gen_ai__provider__name": "openai",
        "gen_ai__request__model": "gpt-4o",
        "gen_ai__response__model": MODEL,
        "gen_ai__usage__input_tokens": given,
        "gen_ai__usage__output_tokens": made,
    }
    return span("chat gpt-4o", start, end, **(said | more))


def openinference(
    start: float, end: float | None, *, tokens: tuple[int, int] | None = (100, 20), **more: Any
) -> SpanRecord:
    """A call in OpenInference's names."""
    given, made = tokens or (None, None)
    said: dict[str, Any] = {
        "openinference__span__kind": "LLM",
        "llm__system": "openai",
        "llm__model_name": MODEL,
        "llm__token_count__prompt": given,
        "llm__token_count__completion": made,
        "scope": OPENINFERENCE,
    }
    return span("ChatCompletion", start, end, **(said | more))


def calls(*spans: SpanRecord) -> list[LlmCall]:
    """The calls that these spans stand for."""
    return model_calls(
        spans,
        {(one.trace_id, one.span_id): one for one in spans},
        lambda one: one.attributes.get(semconv.STAGE_SPAN_ID),
    )
