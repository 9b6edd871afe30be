"""What tests of recording share: the documents that runs left behind."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ire_otel
from ire_otel import reader
from ire_otel.model import Decision, TraceDocument


def documents(brain: Path = Path("brain")) -> list[TraceDocument]:
    """Give every document in the brain folder, in the order in which the runs began."""
    assert ire_otel.flush(30)
    files = sorted(brain.glob("projects/*/_traces/*.json"))
    return sorted((reader.decode(file.read_bytes(), str(file)) for file in files), key=lambda made: made.run.started_at)


def document(brain: Path = Path("brain")) -> TraceDocument:
    """Give the only document in the brain folder."""
    (only,) = documents(brain)
    return only


def decisions(made: TraceDocument, stage: str) -> list[str]:
    """Give the types of a stage's decisions, in order."""
    return [decision.decision for decision in made.stages[stage].decisions]


def decision(made: TraceDocument, stage: str, kind: str) -> Decision:
    """Give the only decision of that type in a stage."""
    (only,) = (taken for taken in made.stages[stage].decisions if taken.decision == kind)
    return only


def rows(brain: Path = Path("brain")) -> list[dict[str, Any]]:
    """Give the rows of `traces`, oldest first, once everything finished so far is written."""
    assert ire_otel.flush(30)
    return stored_rows(brain)


def stored_rows(brain: Path = Path("brain")) -> list[dict[str, Any]]:
    """Give the rows of `traces` as they are now, oldest first."""
    connection = sqlite3.connect(brain / "traces.db")
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute("SELECT * FROM traces ORDER BY started_at")]
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []  # it is being made just now
        raise
    finally:
        connection.close()


def wait_until(true: Callable[[], object], seconds: float = 30) -> None:
    """Wait for something that happens in the background."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
