"""LlmCall: one model call in ire-otel's words, and how one span is read as such."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from ire_otel.llm import vocabulary as words
from ire_otel.llm.messages import captured_prompts, json_of
from ire_otel.llm.vocabulary import Kind
from ire_otel.records import Attributes, SpanRecord

_MOST: Final = 2**53
"""More tokens than this are no count: JSON numbers are exact up to here."""


class LlmCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model, as one span or several of the same call tell it. None is unknown, never zero."""

    kind: Kind
    start_ns: int
    """Unix time in nanoseconds."""
    end_ns: int | None = None
    """Unix time in nanoseconds; None where it never ended."""
    provider: str | None = None
    """As instrumentation says it: `openai` may stand for anything that speaks OpenAI's API."""
    request_model: str | None = None
    """What was asked for; may be an alias or the name of a deployment."""
    response_model: str | None = None
    """What answered."""
    response_id: str | None = None
    error: str | None = None
    """What kind of error ended the call; None where none did."""
    streamed: bool = False
    """Whether the answer is known to have come in pieces."""
    input_tokens: int | None = None
    """Cache tokens are part of these."""
    output_tokens: int | None = None
    """Reasoning tokens are part of these."""
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    """The part of the written cache tokens that is kept for an hour, which costs more."""
    reasoning_tokens: int | None = None
    cost_usd: Decimal | None = None
    """In US dollars, by the price list of the genai-prices package; set once the call's spans are united."""
    prompts: dict[str, str] = {}
    """Texts of the request by name, where they were captured: `system_prompt`, `user_message`."""
    scopes: tuple[str, ...] = ()
    """Instrumentation scopes that saw the call, sorted."""
    stage_span_id: str | None = None
    """The stage that the call was made in; None where it was made in none."""

    @property
    def model(self) -> str | None:
        """What answered, else what was asked for."""
        return self.response_model or self.request_model

    @property
    def usage_known(self) -> bool:
        """Whether both input and output tokens are known."""
        return self.input_tokens is not None and self.output_tokens is not None


def call_of(span: SpanRecord, kind: Kind, stage_span_id: str | None) -> LlmCall:
    """Read one span as a call of this kind."""
    said = span.attributes
    parameters = _parameters(said)
    return LlmCall(
        kind=kind,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        provider=_word(said, words.PROVIDER),
        request_model=_word(said, words.REQUEST_MODEL) or _name(parameters.get("model")),
        response_model=_word(said, words.RESPONSE_MODEL),
        response_id=_word(said, words.RESPONSE_ID),
        error=_error(span),
        streamed=any(said.get(name) is True for name in words.STREAMED) or parameters.get("stream") is True,
        **_tokens(said),
        prompts=captured_prompts(said) if kind == "call" else {},
        scopes=(span.scope_name or "",),
        stage_span_id=stage_span_id,
    )


def _tokens(said: Attributes) -> dict[str, Any]:
    given, made, total = (
        _count(said, names) for names in (words.INPUT_TOKENS, words.OUTPUT_TOKENS, words.TOTAL_TOKENS)
    )
    read, written = _count(said, words.CACHE_READ_TOKENS), _count(said, words.CACHE_WRITE_TOKENS)
    short, long = _count(said, words.CACHE_WRITE_5M_TOKENS), _count(said, words.CACHE_WRITE_1H_TOKENS)
    if written is None and (short is not None or long is not None):
        written = (short or 0) + (long or 0)
    cached = (read or 0) + (written or 0)
    if given is not None and given < cached:
        # Against the conventions, whoever counted left the cache tokens out.
        given += cached
    if given is not None and made is not None:
        total = given + made
    return {
        "input_tokens": given,
        "output_tokens": made,
        "total_tokens": total,
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": long,
        "reasoning_tokens": _count(said, words.REASONING_TOKENS),
    }


def _count(said: Attributes, names: Iterable[str]) -> int | None:
    for name in names:
        value = said.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
            return value
    return None


def _word(said: Attributes, names: Iterable[str]) -> str | None:
    return next((word for word in (_name(said.get(name)) for name in names) if word), None)


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _error(span: SpanRecord) -> str | None:
    kind = _name(span.attributes.get(words.ERROR_TYPE))
    if kind is not None or span.status != "ERROR":
        return kind
    return span.status_description or "ERROR"


def _parameters(said: Attributes) -> dict[str, Any]:
    found = json_of(said.get(words.PARAMETERS))
    return found if isinstance(found, dict) else {}
