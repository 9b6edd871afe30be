"""What the worker does besides exporting, when nothing waits: each chore says when it wants to be called again."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from ire_otel.errors import IreOtelError

logger = logging.getLogger("ire_otel")

Chore = Callable[[], float | None]
"""Does a small piece of work; gives the seconds until the next one, None where that has to wait for another run."""

_AFTER_FAILURE: Final = 60.0
"""Seconds after which a chore that failed is tried again."""


class Chores:
    """Chores and when each is due. Used on one thread."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        """All of them are due at once."""
        self._due = dict.fromkeys(chores, 0.0)

    def wait(self) -> float | None:
        """Give the seconds until the next chore is due; None if all wait for another run."""
        earliest = min(self._due.values(), default=math.inf)
        return None if earliest == math.inf else max(0.0, earliest - time.monotonic())

    def wake(self) -> None:
        """Make the chores due that waited for another run."""
        self._due = {chore: 0.0 if due == math.inf else due for chore, due in self._due.items()}

    def do(self) -> None:
        """Do the chores that are due."""
        for chore in [chore for chore, due in self._due.items() if due <= time.monotonic()]:
            try:
                again = chore()
            except IreOtelError as error:
                logger.error("%s; it is tried again", error)  # noqa: TRY400 # the error says it all
                again = _AFTER_FAILURE
            except Exception:
                # Tracing must never break the run it watches, nor one chore the others.
                logger.exception("ire-otel failed in the background; it is tried again")
                again = _AFTER_FAILURE
            self._due[chore] = math.inf if again is None else time.monotonic() + again
