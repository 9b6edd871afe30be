"""Processes that are killed with SIGKILL: what they had recorded is in file and row after `ire-otel recover`."""

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.faults.conftest import RecordFigure
from tests.faults.findings import Brain, held_against, said_by
from tests.faults.processes import Process, killed_after

pytestmark = pytest.mark.faults

KILLS: Final = 200
AT_ONCE: Final = 4
WITHIN: Final = 0.02
"""Seconds of a run within which it is killed: some 500 decisions and 10 prompts."""


@pytest.fixture
def dice() -> random.Random:
    """Give random numbers, other ones each time; the seed is printed where the test fails."""
    seed = int(os.environ.get("FAULT_SEED", "0")) or random.SystemRandom().getrandbits(32)
    print(f"FAULT_SEED={seed}")  # noqa: T201 # so that a failure can be repeated
    return random.Random(seed)  # noqa: S311 # not for secrets


def killed(program: str, folder: Path, seconds: list[float]) -> list[Process]:
    """Kill processes that ran a program for so many seconds each, several at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda after: killed_after(program, folder, after), seconds))


def test_runs_killed_at_any_instant(tmp_path: Path, dice: random.Random, figures: RecordFigure) -> None:
    """Runs killed at random instants: each has one document with every decision whose decide() had returned."""
    brain = Brain(tmp_path)
    said = said_by(killed("endless", tmp_path, [dice.uniform(0, WITHIN) for _ in range(KILLS)]))
    assert len(said) == KILLS
    assert not brain.documents()

    outcome = brain.recover()

    assert outcome.returncode == 0, outcome
    documents = brain.documents()
    assert set(documents) == set(said)
    counted = held_against(said, documents)
    for document in documents.values():
        assert document.run.status == "incomplete"
        assert "was killed" in str(document.run.error)
        assert document.metadata.recovered is True
    assert set(brain.rows()) == set(documents)
    assert brain.differences() == []
    assert brain.recover().stdout.startswith("0 runs recovered, 0 waiting rows written, 0 left")
    figures("runs killed", counted.runs)
    figures("decisions returned", counted.returned)
    figures("of those found", counted.found)
    figures("found while decide() was under way", counted.more)
