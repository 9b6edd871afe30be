"""What all tests share: errors inside ire-otel raise, and every test has a folder and a configuration of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from opentelemetry.context import Context, attach

# Before ire_otel is imported: its own test suite wants internal errors raised, not logged.
os.environ["IRE_OTEL_RAISE"] = "1"

import ire_otel  # after the line above
from ire_otel.recording import guard

pytest_plugins = ["tests.databases"]

# A busy machine makes an example slow, which says nothing of what is tested.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test in a folder of its own, and stop what it configured."""
    monkeypatch.chdir(tmp_path)
    attach(Context())  # what an earlier test may have left open is none of this one's
    monkeypatch.setattr(guard, "_given", {})  # mistakes are warned of once a process; here, once a test
    yield
    ire_otel.shutdown(10)
