"""The figures of the fault suite: what each test did to ire-otel and what it found afterwards, as a file of JSON."""

from pathlib import Path
from typing import Final

import msgspec

FIGURE: Final = "figure "
"""Begins the name of a figure among a test's properties."""
SHOWS: Final = "shows"
"""Names the property that says what a test shows."""

Value = int | float | str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One test of the suite."""

    test: str
    """Its pytest id."""
    shows: str
    """What it shows: the first paragraph of its docstring."""
    outcome: str
    """passed, failed or skipped."""
    seconds: float
    figures: dict[str, Value] = {}
    why: str | None = None
    """Why it was skipped."""

    @property
    def file(self) -> str:
        """The file that it is in, without its folder."""
        return self.test.partition("::")[0].rpartition("/")[2]


def write(path: Path, results: list[Result]) -> None:
    """Write the results of a session, in the order of the tests' ids. Raises OSError."""
    encoded = msgspec.json.encode(sorted(results, key=lambda result: result.test))
    path.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")


def read(path: Path) -> list[Result]:
    """Read what `write` wrote. Raises OSError, and msgspec.MsgspecError where it is something else."""
    return msgspec.json.decode(path.read_bytes(), type=list[Result])
