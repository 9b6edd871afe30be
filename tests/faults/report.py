"""Print the figures of the fault suite as Markdown: `python -m tests.faults.report FILE`."""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from tests.faults.figures import Result, Value, read


def lines(results: list[Result]) -> Iterator[str]:
    """Give the lines of one table a file of tests."""
    for file, tests in groupby(results, key=lambda result: result.file):
        yield f"\n### {file.removeprefix('test_').removesuffix('.py').replace('_', ' ').capitalize()}\n"
        yield "| what was shown | figures | seconds |"
        yield "|---|---|---|"
        for test in tests:
            yield f"| {_cell(test.shows + _case(test))} | {_cell(_found(test))} | {test.seconds:g} |"


def _case(test: Result) -> str:
    """Give the parameters of a test that has some."""
    return f" ({test.test.partition('[')[2].removesuffix(']')})" if test.test.endswith("]") else ""


def _found(test: Result) -> str:
    if test.outcome == "passed":
        return "; ".join(f"{name}: {_number(value)}" for name, value in test.figures.items()) or "holds"
    return f"**{test.outcome}**" + (f": {test.why}" if test.why else "")


def _number(value: Value) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else value


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print("\n".join(lines(read(Path(sys.argv[1])))))  # noqa: T201 # what it is for
