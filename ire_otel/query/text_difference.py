"""How two texts differ, as a unified diff that stays readable whatever the texts are. Pure."""

import difflib
import re
from itertools import islice
from typing import Final

import msgspec

LINES: Final = 200
"""Most lines of a difference that are shown."""
LINE_LENGTH: Final = 300
"""Longest line that is shown, in characters."""
COMPARED: Final = 4_000
"""Most lines of a text that are compared: the time it takes grows with their product."""

_SENTENCE_END: Final = re.compile(r"(?<=[.!?;])\s+")


class TextDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How text b differs from text a."""

    characters_a: int
    characters_b: int
    added: int
    """Lines of b that a does not have; long lines count by sentence."""
    removed: int
    lines: list[str]
    """Unified diff with one line of context: `-` is a's, `+` is b's."""
    cut: bool
    """True where not everything was compared or not every line is shown."""


def text_difference(a: str, b: str) -> TextDifference:
    """Compare two texts by line, and lines that are too long to be read by sentence."""
    lines_a, lines_b = _lines(a), _lines(b)
    diff = difflib.unified_diff(lines_a[:COMPARED], lines_b[:COMPARED], lineterm="", n=1)
    changed = list(islice(diff, 2, None))  # the first two lines name files
    return TextDifference(
        characters_a=len(a),
        characters_b=len(b),
        added=sum(line.startswith("+") for line in changed),
        removed=sum(line.startswith("-") for line in changed),
        lines=[_shortened(line) for line in changed[:LINES]],
        cut=len(changed) > LINES or max(len(lines_a), len(lines_b)) > COMPARED,
    )


def _lines(text: str) -> list[str]:
    split = ([line] if len(line) <= LINE_LENGTH else _SENTENCE_END.split(line) for line in text.splitlines())
    return [line for lines in split for line in lines]


def _shortened(line: str) -> str:
    return line if len(line) <= LINE_LENGTH else f"{line[:LINE_LENGTH]}…"
