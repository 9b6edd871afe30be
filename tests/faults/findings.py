"""What a brain folder holds after the fault, held against what processes had said before it."""

import functools
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import UNSET

from ire_otel import reader
from ire_otel.db.engine import database
from ire_otel.db.migrate import upgrade
from ire_otel.model import TraceDocument
from ire_otel.settings import Settings
from ire_otel.verification import verify
from tests.faults import pipelines
from tests.faults.processes import Process, Said

CONTENT: Final = ("what", "why", "confidence", "alternatives", "inputs")


class Brain:
    """A brain folder under test, in `folder`."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        """`settings` as the processes have them; the brain folder is `brain` where they do not say."""
        self.folder = folder
        self.settings = Settings(**{"brain_dir": folder / "brain", **settings})

    def make_database(self) -> None:
        """Make the database beforehand, so that the fault hits something else."""
        self.settings.brain_dir.mkdir(parents=True, exist_ok=True)
        (self.settings.brain_dir / "traces.db").write_bytes(_empty_database())

    def recover(self) -> "subprocess.CompletedProcess[str]":
        """Run `ire-otel recover` as people do."""
        given = {
            "IRE_OTEL_BRAIN_DIR": self.settings.brain_dir,
            "IRE_OTEL_STATE_DIR": self.settings.state_dir,
            "IRE_OTEL_DATABASE_URL": self.settings.database_url,
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("IRE_OTEL_")}
        return subprocess.run(
            [str(Path(sys.executable).with_name("ire-otel")), "recover"],
            env=environment | {name: str(value) for name, value in given.items()},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def documents(self) -> dict[str, TraceDocument]:
        """Give every document, by run; each file must be a whole one."""
        files = list(self.settings.brain_dir.glob("projects/*/_traces/*.json"))
        made = [reader.decode(file.read_bytes(), str(file)) for file in files]
        assert len({document.trace_id for document in made}) == len(files)
        return {document.trace_id: document for document in made}

    def rows(self) -> dict[str, dict[str, Any]]:
        """Give every row of `traces`, by run; no run may have two."""
        with closing(sqlite3.connect(self.settings.brain_dir / "traces.db")) as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute("SELECT * FROM traces")]
        counted = Counter(row["trace_id"] for row in rows)
        assert set(counted.values()) <= {1}
        return {row["trace_id"]: row for row in rows}

    def differences(self) -> list[str]:
        """Give what `ire-otel verify` names."""
        return [difference.line for difference in verify(self.settings)]

    def leftovers(self) -> int:
        """Count the temporary files that are left; `ire-otel verify` names each of them, and nothing else."""
        left = [*self.settings.brain_dir.glob("projects/**/.*.tmp")]
        for path in left:
            os.utime(path, (0, 0))  # it names no file that may belong to a write which goes on
        says = ": file: nothing refers to it; look at it and remove it"
        assert sorted(self.differences()) == sorted(f"{path}{says}" for path in left)
        return len(left)


@functools.cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "traces.db"
        upgrade(database(f"sqlite:///{file}"))
        return file.read_bytes()


class Count(msgspec.Struct, kw_only=True):
    """What processes had recorded, and how much of it was found again."""

    runs: int = 0
    returned: int = 0
    """Decisions whose `decide()` had returned."""
    found: int = 0
    """Of those, the ones in the documents."""
    more: int = 0
    """Decisions in documents whose `decide()` was under way."""


def said_by(processes: Iterable[Process]) -> dict[str, Said]:
    """Give what several processes said, by run."""
    return {trace_id: said for process in processes for trace_id, said in process.said().items()}


def held_against(said: Mapping[str, Said], documents: Mapping[str, TraceDocument], *, at_once: int = 1) -> Count:
    """Check that documents hold all that processes said, and nothing that they did not do.

    at_once: decisions of a run that may be under way at a time, each on a thread of its own.
    """
    counted = Count(runs=len(said))
    for trace_id, one in said.items():
        assert trace_id in documents, f"run {trace_id} is lost"
        taken = decisions(documents[trace_id])
        returned = one.done["decision"]
        assert set(taken.values()) <= {1}, f"{trace_id} holds decisions twice"
        counted.returned += len(returned)
        counted.found += len(returned & set(taken))
        counted.more += len(set(taken) - returned)
        assert returned <= set(taken), f"{trace_id} lacks decisions {sorted(returned - set(taken))[:9]}"
        more = {number for number in set(taken) - returned if number - 1 not in taken and number % pipelines.APART}
        assert not more, f"{trace_id} holds decisions {sorted(more)[:9]} that nobody took"
        assert len(set(taken) - returned) <= at_once
        _check_the_rest(one, documents[trace_id])
    return counted


def decisions(document: TraceDocument, *, may_differ: bool = False) -> Counter[int]:
    """Count the decisions by number; each must be what the pipeline recorded, unless it may differ."""
    taken: Counter[int] = Counter()
    for stage in document.stages.values():
        for found in stage.decisions:
            number = found.inputs.get("number", -1) if isinstance(found.inputs, dict) else -1
            content = found.what, found.why, found.confidence, found.alternatives_considered, found.inputs
            assert may_differ or dict(zip(CONTENT, content, strict=True)) == pipelines.decision(number)
            taken[number] += 1
    return taken


def _check_the_rest(said: Said, document: TraceDocument) -> None:
    """Check prompts, evidence and scores: those that were recorded are there, whole."""
    attempts = {name: [stage] if stage.attempts is UNSET else stage.attempts for name, stage in document.stages.items()}
    prompts = {
        name: text
        for attempt in attempts.get("synthesis", ())
        if attempt.prompts is not UNSET
        for name, text in attempt.prompts.items()
    }
    for number in said.done["prompts"]:
        assert prompts[f"prompt_{number}"] == pipelines.prompt(number)
    evidence = [attempt.evidence for attempt in attempts.get("collection", ()) if attempt.evidence is not UNSET]
    assert said.done["evidence"] <= {found["collected_count"] for found in evidence}
    scores = {
        score.id: score.score
        for attempt in attempts.get("quality_gate", ())
        if attempt.principle_scores is not UNSET
        for score in attempt.principle_scores
    }
    assert {f"META-{number}" for number in said.done["score"]} <= set(scores)
