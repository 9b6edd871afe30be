"""Model calls among the spans of others, each in its stage, and what they say of a stage that did not say it itself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ire_otel.assembly.selection import RunRecords, enclosing_stage
from ire_otel.llm import LlmCall, model_calls, prompts, summary
from ire_otel.model import ModelUsage, TokenUsage
from ire_otel.records import SpanRecord


def calls_of(records: RunRecords) -> list[LlmCall]:
    """Give the model calls of a run, each once, by start."""

    def stage_of(span: SpanRecord) -> str | None:
        stage = enclosing_stage(records, span)
        return None if stage is None else stage.span_id

    return model_calls(records.foreign, records.by_key, stage_of)


def call_fields(calls: Sequence[LlmCall], said: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of an Attempt that its calls say, those left out that the pipeline said itself (`said`)."""
    seen = summary(calls)
    if seen is None:
        return {}
    fields = {
        "model": _main_model(seen.by_model),
        "token_usage": None if seen.token_usage == TokenUsage() else seen.token_usage,
        "cost_usd": seen.cost_usd,
        "prompts": prompts(calls) or None,
    }
    return {"llm_calls": seen} | {
        name: value for name, value in fields.items() if value is not None and name not in said
    }


def _main_model(used: Iterable[ModelUsage]) -> str | None:
    """Give the model with most tokens; with most calls, and the first by name, where those are equal."""
    ranked = sorted(used, key=lambda usage: (-(usage.token_usage.total_tokens or 0), -usage.calls))
    return next((usage.model for usage in ranked if usage.model is not None), None)
