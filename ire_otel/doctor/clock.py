"""Whether the clock tells a time that can be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from ire_otel import brain_files
from ire_otel.doctor.findings import Finding, Setup
from ire_otel.errors import ConfigurationError, StoreError
from ire_otel.recording.process import anchored_clock
from ire_otel.settings import Settings

TOLERANCE: Final = 60.0
"""Seconds by which something may lie in the future."""
APART: Final = 1.0
"""Seconds by which the clock of runs may differ from wall time just after it was made."""


def check_clock(setup: Setup) -> Iterator[Finding]:
    """Hold wall time against what was written last, and the clock of runs against wall time."""
    now = time.time()
    ahead = False
    for what, newest in (("a trace file", _last_file(setup.settings)), ("a row", _last_row(setup.settings))):
        if newest is not None and newest > now + TOLERANCE:
            ahead = True
            said = f"it is {_iso(now)} here, and {what} is of {_iso(newest)}: one of the clocks is wrong"
            yield Finding(about="clock", status="warning", what=said, remedy="set the clock (NTP)")
    of_runs = anchored_clock()
    first, wall, second = of_runs() / 1e9, time.time(), of_runs() / 1e9
    if second < first or abs(wall - first) > APART:
        yield Finding(about="clock", status="problem", what="the monotonic clock does not keep up with wall time")
    elif not ahead:
        yield Finding(about="clock", status="ok", what=f"{_iso(now)}, not before what was written last")


def _last_file(chosen: Settings) -> float | None:
    """Give when a trace file came into its folder last."""
    try:
        folders = [folder / brain_files.TRACES for folder in brain_files.projects(chosen)]
    except ConfigurationError:
        return None
    return max((folder.stat().st_mtime for folder in folders if folder.is_dir()), default=None)


def _last_row(chosen: Settings) -> float | None:
    """Give when the run began that began last by the rows."""
    from ire_otel.query import list_runs

    try:
        newest = list_runs(chosen.database_url, pooler=chosen.pooler, limit=1)
    except (ConfigurationError, StoreError):
        return None  # said by another check
    return datetime.fromisoformat(newest[0].started_at).timestamp() if newest else None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
