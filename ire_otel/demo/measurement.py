"""What a check returns."""

import msgspec


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One figure about a report, and what it rests on."""

    value: float
    """The figure; its range is the check's."""
    feedback: str
    """What the check saw, as a sentence with counts and an example."""


def quoted(text: str, limit: int = 90) -> str:
    """`text` in quotation marks, cut to `limit` characters."""
    return f"“{text if len(text) <= limit else text[: limit - 1].rstrip() + '…'}”"
