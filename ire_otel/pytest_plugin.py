"""The pytest plugin: the fixture `ire_traces`. Loaded in every pytest session, so it imports nothing before its use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ire_otel.testing import CapturedTraces


@pytest.fixture
def ire_traces() -> Iterator[CapturedTraces]:
    """Every ire-otel run of this test, kept in memory with fixed ids and times (docs/testing.md)."""
    from ire_otel.testing import captured_traces  # only for tests that ask for it

    with captured_traces() as traces:
        yield traces
