"""Runs for tests of calibration: what a gate scored, as rows of a real database."""

import io
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ire_otel.cli import main
from ire_otel.db.store import RunStore
from ire_otel.model import PrincipleScore, ScoreNote, StageTrace
from ire_otel.row import row
from tests.sample_document import LOCATION, sample_document
from tests.test_cli import Outcome

Command = Callable[..., Outcome]

APART = timedelta(hours=2.4)
"""Ten runs a day."""


def gate(scores: Mapping[str, float], *, gaps: Sequence[str] | None = None) -> StageTrace:
    """Give a quality gate that scored principles; `gaps` are those below 2, unless they are given."""
    named = [principle for principle, score in scores.items() if score < 2] if gaps is None else gaps
    return StageTrace(
        principle_scores=[PrincipleScore(id=principle, score=score) for principle, score in scores.items()],
        overall_score=2.0,
        passing=True,
        gaps=[ScoreNote(id=principle) for principle in named],
    )


def save(url: str, scores: Sequence[Mapping[str, float]], *, first: int = 1, **fields: Any) -> list[str]:
    """Save runs with these scores, the last one now, the others APART before; gives their trace_ids, oldest first."""
    now = datetime.now(UTC)
    documents = [
        sample_document(
            first + number,
            **(
                {
                    "started_at": (now - (len(scores) - 1 - number) * APART).isoformat(),
                    "stages": {"quality_gate": gate(of_run)},
                }
                | fields
            ),
        )
        for number, of_run in enumerate(scores)
    ]
    with closing(RunStore(url)) as store:
        assert store.save([row(document, LOCATION) for document in documents]) == {}
    return [document.trace_id for document in documents]


def worsening(runs: int = 120, principle: str = "META-12") -> list[Mapping[str, float]]:
    """Scores of runs in which a principle fails in one of ten, and in most of the last 40."""
    failing = [number % 10 == 0 for number in range(runs - 40)] + [number % 4 != 0 for number in range(40)]
    return [{principle: 1 if failed else 3, "META-1": 3} for failed in failing]


@pytest.fixture
def calibrated(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configured database, without a run; its brain folder is in the test's own folder."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", database_url)
    return database_url


@pytest.fixture
def brain_url(sqlite_template: Path) -> str:
    """URL of the database in the brain folder that is used where nothing else is configured; it has no run."""
    Path("brain").mkdir()
    return f"sqlite:///{Path(shutil.copy(sqlite_template, 'brain/traces.db')).absolute()}"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call `ire-otel` without a terminal, in this process: starting one takes longer than any command."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["ire-otel", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return Outcome(int(left.value.code or 0), printed.out, printed.err)

    return call
