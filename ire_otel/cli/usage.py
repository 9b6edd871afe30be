"""Model calls, tokens and cost in a few words."""

from collections.abc import Iterator

from ire_otel.model import LlmCalls, TokenUsage


def calls(seen: LlmCalls) -> Iterator[str]:
    """Give how many calls of each kind there were, as far as there were any."""
    if seen.calls:
        yield counted(seen.calls, "model call")
    if seen.errors:
        yield f"{seen.errors} failed"
    if seen.calls_without_usage:
        yield f"{seen.calls_without_usage} without usage"
    if seen.embeddings:
        yield counted(seen.embeddings, "embedding")
    if seen.retrievals:
        yield counted(seen.retrievals, "retrieval")


def totals(seen: LlmCalls) -> Iterator[str]:
    """Give the counts, then tokens and cost."""
    yield from calls(seen)
    if seen.calls:
        yield tokens(seen.token_usage)
    if seen.cost_usd is not None:
        yield cost(seen.cost_usd)


def tokens(usage: TokenUsage) -> str:
    """Give input and output tokens."""
    return f"{_known(usage.input_tokens)} tokens in, {_known(usage.output_tokens)} out"


def cost(usd: float) -> str:
    """Give a cost; a small one to a hundredth of a cent."""
    return f"${usd:.4f}"


def counted(number: int, noun: str) -> str:
    """Give a number with its noun."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _known(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"
