"""The table of docs/llm-calls.md: what every combination of instrumentors gives, beside what the server counted.

`python -m tests.llm_table` measures it and puts it into the page.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.llm_measure import COMBINATIONS, Measured
from tests.llm_server import Counted

PAGE = Path(__file__).parents[1] / "docs" / "llm-calls.md"
_TIMEOUT_SECONDS = 120
_SHORT = {
    "genai-openai": "genai",
    "openinference-openai": "OpenInference",
    "anthropic": "SDK",
    "genai-anthropic": "genai",
    "openinference-anthropic": "OpenInference",
}


def measured(provider: str, names: Sequence[str]) -> list[Measured]:
    """Measure one combination, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.llm_measure", provider, *names]
    done = subprocess.run(command, capture_output=True, cwd=PAGE.parents[1], timeout=_TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout, type=list[Measured])


def heading(names: Sequence[str]) -> str:
    """Give a column's title."""
    return " + ".join(_SHORT[name] for name in names)


def truth(counted: Counted) -> str:
    """Give the cell of what the server counted."""
    if counted.embeddings:
        return f"{counted.embeddings} embedding"
    refused = f", {counted.refused} refused" if counted.refused else ""
    tokens = f": {counted.input_tokens} + {counted.output_tokens}" if counted.calls else ""
    shares = _shares(counted.cache_read_tokens, counted.cache_write_tokens, counted.reasoning_tokens)
    return f"{counted.calls}{tokens}{shares}{refused}"


def cell(said: Mapping[str, Any] | None, counted: Counted) -> str:
    """Give the cell of what a document says: `=` where that is what the server counted."""
    if said is None:
        return "nothing"
    if said["embeddings"]:
        found = f"{said['embeddings']} embedding"
    else:
        usage = said["token_usage"]
        answered = said["calls"] - said["errors"]
        known = usage["input_tokens"] is not None
        shares = _shares(*(usage.get(f"{name}_tokens") or 0 for name in ("cache_read", "cache_write", "reasoning")))
        found = f"{answered}: {usage['input_tokens']} + {usage['output_tokens']}{shares}" if known else f"{answered}"
    refused = f", {counted.refused} refused" if counted.refused else ""
    failed = f", {said['errors']} failed" if said["errors"] else ""
    unknown = said["calls_without_usage"] - said["errors"]
    same = f"{found}{refused}" == truth(counted)
    return f"{'=' if same else found}{failed}{f', {unknown} unknown' if unknown else ''}"


def _shares(read: int, written: int, thought: int) -> str:
    named = ((read, "read"), (written, "written"), (thought, "reasoning"))
    told = ", ".join(f"{number} {word}" for number, word in named if number)
    return f" ({told})" if told else ""


def column(measures: Sequence[Measured]) -> list[str]:
    """Give the cells of one combination."""
    return [cell(measure.run, measure.counted) for measure in measures]


def table(columns: Mapping[tuple[str, ...], Sequence[Measured]]) -> str:
    """Give the table of one provider."""
    first = next(iter(columns.values()))
    rows = [["shape", "the server counted", *map(heading, columns)], ["---"] * (len(columns) + 2)]
    for measure, *cells in zip(first, *map(column, columns.values()), strict=True):
        rows.append([measure.shape, truth(measure.counted), *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def section(page: str, provider: str) -> str:
    """Give the table that a page has for a provider."""
    return page.partition(f"<!-- {provider} -->\n")[2].partition("\n<!-- end -->")[0] + "\n"


def main() -> None:
    """Measure everything, and write it into the page."""
    page = PAGE.read_text(encoding="utf-8")
    for provider, combinations in COMBINATIONS.items():
        made = table({names: measured(provider, names) for names in combinations})
        mark = f"<!-- {provider} -->\n"
        page = page.replace(mark + section(page, provider), mark + made)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
