"""ire-otel as a pipeline uses it: trace file (fsynced) and database rows included."""

import itertools
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from opentelemetry.sdk.trace import TracerProvider

import ire_otel
from benchmarks import reference
from benchmarks.contenders import Contender
from ire_otel.recording.stage import Stage

TITLE: Final = "ire-otel"
PACKAGES: Final = ("ire-otel", "opentelemetry-sdk", "msgspec", "orjson", "sqlalchemy", "google-re2")


class Ire(Contender):
    """ire-otel with trace files and a SQLite database in one folder, otherwise as it comes."""

    def __init__(self, folder: Path, provider: TracerProvider | None = None) -> None:
        """`folder` becomes the brain folder; a provider is the application's own, where its processors see runs."""
        super().__init__()
        self._folder = folder
        self._cleaned = itertools.count()
        ire_otel.configure(brain_dir=folder, tracer_provider=provider)

    def reference_run(self) -> None:
        """Record the reference run."""
        with ire_otel.run(reference.QUERY, project_name=reference.PROJECT, report_type=reference.REPORT_TYPE) as trace:
            for stage in reference.STAGES:
                with ire_otel.stage(stage.name, component=stage.component) as open_stage:
                    record_stage(open_stage, stage)
            trace.intent = reference.INTENT
            trace.set_outputs(reference.OUTPUTS)

    def decisions_run(self, decisions: Iterable[reference.Decision]) -> None:
        """Record a run with one stage."""
        with ire_otel.run(reference.QUERY, project_name=reference.PROJECT), ire_otel.stage("collection"):
            for decision in decisions:
                decide(decision)

    def settle(self) -> None:
        """Wait until every file and row is written."""
        if not ire_otel.flush(300):
            raise RuntimeError("a batch was not written within five minutes")

    def clean(self) -> None:
        """Move the trace files away; a file system that has just deleted many takes longer to make new ones."""
        with suppress(FileNotFoundError):
            (self._folder / "projects").rename(self._folder / f"done-{next(self._cleaned)}")

    def spans(self, decisions: int | None) -> int:  # noqa: ARG002 # however many
        """A run has one file and one row."""
        return 1

    def stop(self) -> int:
        """Count the rows of runs with a file."""
        ire_otel.shutdown(60)
        with closing(sqlite3.connect(self._folder / "traces.db")) as database:
            (rows,) = database.execute("SELECT count(*) FROM traces WHERE trace_file_path IS NOT NULL").fetchone()
        return int(rows)


def record_stage(open_stage: Stage, stage: reference.Stage) -> None:
    """Record everything of a stage but its beginning and end."""
    for decision in stage.decisions:
        decide(decision)
    for score in stage.scores:
        open_stage.score(score.principle, score.score, name=score.name, feedback=score.feedback)
    if stage.prompts:
        open_stage.prompts(**stage.prompts)
    if stage.evidence:
        open_stage.evidence(**stage.evidence)
    open_stage.set_outputs(stage.outputs)


def decide(decision: reference.Decision) -> None:
    """Record a decision in the current stage."""
    ire_otel.decide(
        decision.kind,
        what=decision.what,
        why=decision.why,
        confidence=decision.confidence,
        alternatives=decision.alternatives,
        inputs=decision.inputs,
    )


def make(sink: str, folder: Path) -> Contender:  # noqa: ARG001 # as all contenders are made
    """Write into the folder."""
    return Ire(folder / "brain")
