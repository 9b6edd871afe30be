"""Capture runs in tests, and hold what they recorded against what was expected. Needs no test framework."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.context import Context, attach, get_current

from ire_otel.recording import host
from ire_otel.testing.capture import CapturingHost
from ire_otel.testing.conformance import Conformance
from ire_otel.testing.traces import CapturedTraces

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CapturedTraces", "Conformance", "captured_traces"]


@contextmanager
def captured_traces() -> Iterator[CapturedTraces]:
    """Keep every run of the block in memory: no file, no database, no network, no OpenTelemetry SDK.

    Inside, every project is traced whatever the configuration says, `configure()` only checks its arguments, and
    errors inside ire-otel are raised. Afterwards all is as before; runs still open by then end as `incomplete`.
    """
    outside, replaced = get_current(), host.installed()
    capturing = CapturingHost()
    attach(Context())
    host.install(capturing)
    try:
        yield CapturedTraces(capturing)
    finally:
        capturing.end_open_runs()
        host.install(replaced)
        # No token: a fixture may be torn down in another context than it was set up in.
        attach(outside)
