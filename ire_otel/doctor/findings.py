"""What checks look at, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from ire_otel.settings import Settings

Status = Literal["ok", "note", "warning", "problem"]
"""`note`: worth knowing. `warning`: something may be missing, or will fail one day. `problem`: it does not work."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found, in one line."""

    about: str
    """What was looked at, e.g. `database`."""
    status: Status
    what: str
    """What is the case."""
    remedy: str | None = None
    """What to do about it; None where nothing need be done, or `what` says it."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at."""

    settings: Settings
    """As far as they can be used."""
    problems: tuple[str, ...] = ()
    """What could not be used of the settings."""
    variables: Mapping[str, str] = {}
    """The environment's variables of OpenTelemetry."""


Check = Callable[[Setup], Iterable[Finding]]
