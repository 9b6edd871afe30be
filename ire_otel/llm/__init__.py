"""Model calls, out of whatever spans instrumentation left of them: each call once, its tokens, its cost. Pure."""

from ire_otel.llm.calls import LlmCall
from ire_otel.llm.merging import model_calls
from ire_otel.llm.totals import prompts, summary

__all__ = ["LlmCall", "model_calls", "prompts", "summary"]
