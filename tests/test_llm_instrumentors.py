"""Real clients under real instrumentors, each alone and together, against what a local server counted."""

from collections.abc import Sequence

import pytest
from genai_prices import Usage, calc_price

from tests.llm_measure import COMBINATIONS, OWN_SPANS, Measured
from tests.llm_server import DATED, Counted
from tests.llm_table import PAGE, column, heading, measured, section, truth

UNSAID: set[tuple[tuple[str, ...], str]] = {
    (("genai-openai",), "streamed, usage not asked for"),
    (("openinference-openai",), "streamed, usage not asked for"),
    (("genai-openai", "openinference-openai"), "streamed, usage not asked for"),
    (("openinference-openai", "genai-openai"), "streamed, usage not asked for"),
    (("openinference-anthropic",), "streamed, raw response"),
}
"""Where no span says the usage."""
UNSEEN: dict[tuple[tuple[str, ...], str], int] = {(("genai-anthropic",), "one stream inside another"): 1}
"""Where calls have no span at all: how many of them."""

every_combination = pytest.mark.parametrize(
    ("provider", "names"),
    [
        pytest.param(provider, names, id=" + ".join(names))
        for provider, several in COMBINATIONS.items()
        for names in several
    ],
)


@pytest.mark.slow
@every_combination
def test_calls_tokens_and_cost_are_what_the_server_counted(provider: str, names: tuple[str, ...]) -> None:
    """In every shape: plain, streamed, parallel, tools, errors, retries; and the page has the same table."""
    measures = measured(provider, names)
    assert len(measures) > 10
    for measure in measures:
        _check(provider, names, measure)
    assert _written(provider, names) == [[one.shape, truth(one.counted)] for one in measures] + [column(measures)]


def _check(provider: str, names: tuple[str, ...], measure: Measured) -> None:
    said, counted, shape = measure.run, measure.counted, measure.shape
    assert said is not None, shape
    assert said == measure.stage["llm_calls"], shape
    assert said["embeddings"] == counted.embeddings, shape
    # A client that gives up made one call, however often it was refused.
    assert said["errors"] == (counted.refused > 0 and counted.calls == 0), shape
    unseen = UNSEEN.get((names, shape), 0)
    assert said["calls"] - said["errors"] == counted.calls - unseen, shape
    usage = said["token_usage"]
    if (names, shape) in UNSAID or counted.calls == 0:
        assert (usage["input_tokens"], usage["output_tokens"], said["cost_usd"]) == (None, None, None), shape
        assert said["calls_without_usage"] == said["calls"], shape
    elif not unseen:
        assert said["calls_without_usage"] == 0, shape
        assert (usage["input_tokens"], usage["output_tokens"]) == (counted.input_tokens, counted.output_tokens), shape
        for share in ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens"):
            assert usage.get(share, 0) == getattr(counted, share), shape
        assert said["cost_usd"] == pytest.approx(_price(provider, counted)), shape
        assert [used["model"] for used in said["by_model"]] == [_model(provider)], shape
        assert measure.stage["model"] == _model(provider), shape
        assert names == (OWN_SPANS,) or "user_message" in measure.stage["prompts"], shape


def _price(provider: str, counted: Counted) -> float:
    usage = Usage(
        input_tokens=counted.input_tokens,
        output_tokens=counted.output_tokens,
        cache_read_tokens=counted.cache_read_tokens,
        cache_write_tokens=counted.cache_write_tokens,
    )
    return float(calc_price(usage, _model(provider), provider_id=provider).total_price)


def _model(provider: str) -> str:
    return DATED["gpt-4o" if provider == "openai" else "claude-haiku-4-5"]


def _written(provider: str, names: Sequence[str]) -> list[list[str]]:
    """Give what the page has: shape and truth of each row, then the column of a combination."""
    lines = section(PAGE.read_text(encoding="utf-8"), provider).splitlines()
    head, _, *rows = ([part.strip() for part in line.strip("|").split("|")] for line in lines)
    return [row[:2] for row in rows] + [[row[head.index(heading(names))] for row in rows]]
