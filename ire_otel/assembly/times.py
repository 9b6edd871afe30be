"""Times of the document: whole microseconds, as Jaeger keeps them, so that a trace read back from there is the same."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache


def microseconds(time_ns: int) -> int:
    """Floor nanoseconds to microseconds."""
    return time_ns // 1000


def iso(time_ns: int) -> str:
    """Give Unix nanoseconds as ISO 8601 UTC with microseconds."""
    second, rest = divmod(time_ns // 1000, 1_000_000)
    return f"{_whole_second(second)}.{rest:06d}Z"


def seconds(start_ns: int, end_ns: int) -> float:
    """Give the time from start to end in seconds, never negative."""
    return max(0, end_ns // 1000 - start_ns // 1000) / 1_000_000


def covered_seconds(intervals: Iterable[tuple[int, int]]) -> float:
    """Give the length of the union of (start, end) intervals in Unix nanoseconds, in seconds."""
    total, covered_to = 0, 0
    for start, end in sorted((start // 1000, end // 1000) for start, end in intervals):
        total += max(0, end - max(start, covered_to))
        covered_to = max(covered_to, end)
    return total / 1_000_000


@lru_cache(maxsize=1024)
def _whole_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
