"""What a model call costs, by the price list inside the genai-prices package: nothing is fetched. Pure."""

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final

from ire_otel.llm.calls import LlmCall

_loading: Final = threading.Lock()
# A forked child would inherit the locks of modules that a thread is just importing, and wait for ever.
os.register_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)

_USAGE: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
}
"""What genai-prices calls the fields of an LlmCall."""


def price(call: LlmCall) -> Decimal | None:
    """Price a call by what answered, at the prices of its start; None for unknown tokens or an unknown model."""
    if call.kind != "call" or call.response_model is None or not call.usage_known:
        return None
    usage = {name: getattr(call, field) for name, field in _USAGE.items()}
    # Clients of OpenAI's API say `openai` for whatever answers there, so the provider is no more than a hint.
    for provider in dict.fromkeys((call.provider, None)):
        try:
            return _calculate()(usage, call.response_model, provider, datetime.fromtimestamp(call.start_ns / 1e9, UTC))
        except (LookupError, ValueError, OverflowError):
            continue
    return None


@cache
def _calculate() -> Callable[[dict[str, int | None], str, str | None, datetime], Decimal]:
    # Loads pydantic, an HTTP client and the list: a third of a second, for runs that called a model.
    with _loading:
        from genai_prices import Usage
        from genai_prices.data import providers
        from genai_prices.data_snapshot import DataSnapshot

        # A list of our own: the package's default one changes where the application has it updated.
        prices = DataSnapshot(providers=providers, from_auto_update=False)

    def calculate(usage: dict[str, Any], model: str, provider: str | None, at: datetime) -> Decimal:
        return prices.calc(Usage(**usage), model, provider, None, at).total_price

    return calculate
