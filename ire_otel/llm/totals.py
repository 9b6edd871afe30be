"""Sum calls up, for a run and for each of its stages. What is unknown is left out of the sums and counted."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from msgspec import UNSET

from ire_otel.llm.calls import LlmCall
from ire_otel.model import LlmCalls, ModelUsage, TokenUsage

Number = TypeVar("Number", int, Decimal)


def summary(calls: Sequence[LlmCall]) -> LlmCalls | None:
    """Sum up calls; None where there were none of any kind."""
    if not calls:
        return None
    models = [call for call in calls if call.kind == "call"]
    by_name: dict[str | None, list[LlmCall]] = {}
    for call in models:
        by_name.setdefault(call.model, []).append(call)
    by_model = [
        ModelUsage(model=name, **_sums(by_name[name]))
        for name in sorted(by_name, key=lambda name: (name is None, name))
    ]
    return LlmCalls(
        **_sums(models),
        embeddings=sum(call.kind == "embedding" for call in calls),
        retrievals=sum(call.kind == "retrieval" for call in calls),
        by_model=by_model,
    )


def prompts(calls: Iterable[LlmCall]) -> dict[str, str]:
    """Give every text of the calls' requests once: by its name, from the second call on with the call's number."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for number, call in enumerate((call for call in calls if call.kind == "call"), start=1):
        for name, text in call.prompts.items():
            if (name, text) not in seen:
                seen.add((name, text))
                found[f"{name} #{number}" if name in found else name] = text
    return found


def _sums(calls: Sequence[LlmCall]) -> dict[str, Any]:
    cost = _total(call.cost_usd for call in calls)
    shares = {
        name: _total(getattr(call, name) for call in calls)
        for name in ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    }
    usage = TokenUsage(
        input_tokens=_total(call.input_tokens for call in calls),
        output_tokens=_total(call.output_tokens for call in calls),
        total_tokens=_total(call.total_tokens for call in calls),
        **{name: UNSET if share is None else share for name, share in shares.items()},
    )
    return {
        "calls": len(calls),
        "calls_without_usage": sum(not call.usage_known for call in calls),
        "errors": sum(call.error is not None for call in calls),
        "token_usage": usage,
        "cost_usd": None if cost is None else float(cost),
    }


def _total(numbers: Iterable[Number | None]) -> Number | None:
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known else None
