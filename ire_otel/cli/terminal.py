"""What all commands share in writing to a terminal, a file or a pipe."""

import os
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

PIPE_WIDTH = 160
"""Columns of a table that goes to a file or a pipe, where nothing says how wide it may be."""

STATUS_STYLE = {"complete": "green", "failed": "bold red", "incomplete": "yellow", "in_progress": "cyan"}


def console() -> Console:
    """Give the console for standard output: as wide as the terminal, or COLUMNS, or PIPE_WIDTH."""
    free = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=PIPE_WIDTH if free else None, highlight=False)


def print_json(value: Any) -> None:
    """Print `value` (msgspec structs included) as indented JSON, for programs to read."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def one_line(value: Any) -> str:
    """Give `value` as one line of printable text; what is no string becomes JSON.

    Recorded texts come from web pages and models: without this, an escape sequence in one could drive the terminal.
    """
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return "".join(sign if sign.isprintable() else "�" for sign in " ".join(text.split()))


def seconds(duration: float | None) -> str:
    """Give a duration as people read it: `12 ms`, `4.21 s`, `3 min 05 s`; a dash where nobody knows it."""
    if duration is None:
        return "–"
    if duration < 1:
        return f"{duration * 1000:.3g} ms"
    if duration < 100:  # noqa: PLR2004 - from here on hundredths of a second tell nothing
        return f"{duration:.2f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest:02} s"


def moment(stamp: str) -> datetime:
    """Read an ISO 8601 time; one without a zone is UTC."""
    time = datetime.fromisoformat(stamp)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def verdict(passed: bool | None, score: float | None) -> Text:
    """Give the quality gate's verdict and overall score, e.g. `PASS 2.40`."""
    word = {True: "PASS ", False: "FAIL ", None: ""}[passed]
    number = "" if score is None else f"{score:.2f}"
    return Text(f"{word}{number}".strip() or "–", style={True: "green", False: "bold red", None: ""}[passed])
