"""Processes that are killed with SIGKILL: what they had recorded is in file and row after `ire-otel recover`."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from msgspec import UNSET

from tests.faults.conftest import RecordFigure
from tests.faults.findings import Brain, held_against, said_by
from tests.faults.pipelines import THREADS
from tests.faults.processes import Process, killed_after

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

KILLS: Final = 200
AT_ONCE: Final = 4
KILLED_RECOVERIES: Final = 30
WITHIN: Final = 0.02
"""Seconds of a run within which it is killed: some 500 decisions and 10 prompts."""


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


def test_threads_killed_at_any_instant(tmp_path: Path, dice: random.Random, figures: RecordFigure) -> None:
    """Runs in which four threads decide, killed at random instants: no decision that had returned is missing."""
    brain = Brain(tmp_path)
    said = said_by(killed("threads", tmp_path, [dice.uniform(0, 5 * WITHIN) for _ in range(20)]))

    assert brain.recover().returncode == 0

    documents = brain.documents()
    assert set(documents) == set(said)
    counted = held_against(said, documents, at_once=THREADS)
    assert brain.differences() == []
    figures("runs killed", counted.runs)
    figures("decisions returned", counted.returned)
    figures("of those found", counted.found)


def test_processes_killed_while_runs_end(tmp_path: Path, dice: random.Random, figures: RecordFigure) -> None:
    """Processes killed while their short runs end and their worker writes: each run is there once, file and row."""
    brain = Brain(tmp_path)
    brain.make_database()
    processes = killed("short", tmp_path, [dice.uniform(0, 0.5) for _ in range(50)])
    said = said_by(processes)
    written = len(brain.documents())

    assert brain.recover().returncode == 0

    documents = brain.documents()
    counted = held_against(said, documents)
    unsaid = set(documents) - set(said)  # killed between the beginning of a run and saying so
    assert len(unsaid) <= len(processes)
    assert not any(documents[trace_id].stages for trace_id in unsaid)
    for trace_id, one in said.items():
        assert documents[trace_id].run.status in ({"complete"} if one.ended else {"complete", "incomplete"})
    assert set(brain.rows()) == set(documents)
    left = brain.leftovers()
    figures("processes killed", len(processes))
    figures("runs", counted.runs)
    figures("written before recovery", written)
    figures("decisions returned", counted.returned)
    figures("of those found", counted.found)
    figures("temporary files left, named by verify", left)


def test_recoveries_killed_at_any_instant(tmp_path: Path, dice: random.Random, figures: RecordFigure) -> None:
    """Recoveries killed at random instants, one after the other: the next one goes on, and no run is there twice."""
    brain = Brain(tmp_path)
    said = said_by(killed("endless", tmp_path, [dice.uniform(0, WITHIN) for _ in range(60)]))
    done = []
    within = 0.1
    for _ in range(KILLED_RECOVERIES):
        with Process("recover", tmp_path) as recovery:
            recovery.tell("go")
            recovery.hear("begun")
            time.sleep(dice.uniform(0, within))
        if recovery.wait() == 0:
            break
        done.append(len(brain.documents()))
        within *= 1.1  # they all take the same time to begin, however fast this machine is

    assert brain.recover().returncode == 0

    documents = brain.documents()
    assert set(documents) == set(said)
    counted = held_against(said, documents)
    assert set(brain.rows()) == set(documents)
    left = brain.leftovers()
    figures("recoveries killed", len(done))
    figures("temporary files left, named by verify", left)
    figures("of those, after the first file", len(done) - done.count(0))
    figures("runs", counted.runs)
    figures("decisions returned", counted.returned)
    figures("of those found", counted.found)


def test_recoveries_at_once(tmp_path: Path, dice: random.Random, figures: RecordFigure) -> None:
    """Several recoveries at the same time: each run is there once, and none of them fails."""
    brain = Brain(tmp_path)
    said = said_by(killed("endless", tmp_path, [dice.uniform(0, WITHIN) for _ in range(40)]))

    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda _: brain.recover(), range(3)))

    assert [outcome.returncode for outcome in outcomes] == [0, 0, 0], outcomes
    written = [int(outcome.stdout.split("\n")[-2].split()[0]) for outcome in outcomes]
    assert sum(written) == len(said), f"runs were recovered again: {written}"
    documents = brain.documents()
    assert set(documents) == set(said)
    counted = held_against(said, documents)
    assert set(brain.rows()) == set(documents)
    assert brain.differences() == []
    figures("recoveries at once", len(outcomes))
    figures(
        "runs that each of them wrote", ", ".join(outcome.stdout.split("\n")[-2].split()[0] for outcome in outcomes)
    )
    figures("decisions returned", counted.returned)
    figures("of those found", counted.found)


def test_recovery_beside_a_live_run(tmp_path: Path, dice: random.Random, figures: RecordFigure) -> None:
    """A recovery leaves runs of live processes alone; they go on and end as if nothing had been."""
    brain = Brain(tmp_path)
    with Process("driven", tmp_path) as live:
        live.tell("open")
        live.tell("decide 0 1000")
        live.hear("decided")
        dead = killed("endless", tmp_path, [dice.uniform(0, WITHIN) for _ in range(5)])

        assert brain.recover().returncode == 0

        assert set(brain.documents()) == set(said_by(dead))
        live.tell("decide 1000 2000")
        live.tell("close")
        live.tell("flush 30")
        assert live.hear("flush") == ["flush", "True"]
    documents = brain.documents()
    counted = held_against(said_by([live, *dead]), documents)
    (trace_id,) = live.said()
    assert documents[trace_id].run.status == "complete"
    assert documents[trace_id].metadata.recovered is UNSET
    assert set(brain.rows()) == set(documents)
    assert brain.differences() == []
    figures("runs of dead processes", len(dead))
    figures("decisions returned", counted.returned)
    figures("of those found", counted.found)
