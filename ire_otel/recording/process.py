"""What is one per process: its id, its event counter, its clock."""

import itertools
import os
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

Clock = Callable[[], int]
"""Gives Unix time in nanoseconds, to the microsecond."""


class _Identity:
    """The id of this process; a forked child gets its own."""

    def __init__(self) -> None:
        self.id = ""
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.id = secrets.token_hex(4)


identity = _Identity()
next_seq = itertools.count(1).__next__
"""The next `ire.seq` of this process; one step of a C iterator, so threads need no lock."""


def anchored_clock() -> Clock:
    """Give a clock that starts at wall time and then runs with the monotonic one, so that it never jumps."""
    offset = time.time_ns() - time.monotonic_ns()
    monotonic_ns = time.monotonic_ns

    def now() -> int:
        return (monotonic_ns() + offset) // 1000 * 1000

    return now


def date_of(time_ns: int) -> str:
    """Give the UTC date of a Unix time in nanoseconds, as run ids have it: `20260213`."""
    return _date(time_ns // _DAY)


_DAY: Final = 24 * 3600 * 10**9


@lru_cache(maxsize=4)
def _date(day: int) -> str:
    return f"{datetime.fromtimestamp(day * 24 * 3600, UTC):%Y%m%d}"
