"""`ire-otel serve`, killed with SIGKILL under load: whatever it answered 200 for is in a document after a restart."""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.faults.conftest import RecordFigure
from tests.receivers import JSON, Serving, as_json, root, serving, stage, written
from tests.runs import stored_rows, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

KILLS: Final = 8
SENDERS: Final = 6
STAGES: Final = 3


def run_id(number: int) -> str:
    return f"trc_20260213_{number:016x}"


def send(server: Serving, numbers: Iterator[int], accepted: dict[str, set[str]]) -> None:
    """Send runs, span by span, until the receiver is gone; note each span that was answered 200."""
    try:
        while True:
            number = next(numbers)
            run = run_id(number)
            own = {**root(run=run, trace=number), "spanId": f"{number:016x}"}
            spans = [stage(f"stage_{index}", index + 1, run=run, trace=number) for index in range(STAGES)]
            for span in [*spans, own]:
                if server.post(as_json(span), JSON).status == 200:
                    accepted[run].add(str(span["name"]))
    except (HTTPException, OSError):
        return


def test_killed_under_load(tmp_path: Path, dice: random.Random, figures: RecordFigure) -> None:
    """A receiver killed at random instants while six senders send: every span answered 200 for is in a document."""
    brain = tmp_path / "brain"
    accepted: dict[str, set[str]] = defaultdict(set)
    numbers = count(1000)  # beyond the span ids of stages
    for _ in range(KILLS):
        with serving(brain) as server:
            senders = [threading.Thread(target=send, args=(server, numbers, accepted)) for _ in range(SENDERS)]
            for sender in senders:
                sender.start()
            time.sleep(dice.uniform(0.2, 2))
            server.kill()
            for sender in senders:
                sender.join()
    with serving(brain, incomplete_after=1):
        wait_until(lambda: set(accepted) <= set(written(brain)), 120)
        documents = written(brain)
        wait_until(lambda: set(accepted) <= {str(row["trace_id"]) for row in stored_rows(brain)}, 60)
    spans = lost = 0
    for run, names in accepted.items():
        made = documents[run]
        found = {*made.stages} | ({"research_run"} if made.run.completed_at is not None else set())
        spans += len(names)
        lost += len(names - found)
    assert lost == 0
    assert spans > 100
    figures("kills", KILLS)
    figures("spans answered 200", spans)
    figures("of those missing", lost)
