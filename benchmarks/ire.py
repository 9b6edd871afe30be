"""ire-otel as a pipeline uses it: trace file (fsynced) and database rows included."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

import ire_otel
from benchmarks import reference
from ire_otel.recording.stage import Stage


class Ire:
    """ire-otel with trace files and a SQLite database in one folder, otherwise as it comes."""

    def __init__(self, folder: Path, provider: TracerProvider | None = None) -> None:
        """`folder` becomes the brain folder; a provider is the application's own, where its processors see runs."""
        self._folder = folder
        self._runs = 0
        ire_otel.configure(brain_dir=folder, tracer_provider=provider)

    def record(self) -> None:
        """Record the reference run."""
        self._runs += 1
        with ire_otel.run(reference.QUERY, project_name=reference.PROJECT, report_type=reference.REPORT_TYPE) as trace:
            for stage in reference.STAGES:
                with ire_otel.stage(stage.name, component=stage.component) as open_stage:
                    _record_stage(open_stage, stage)
            trace.intent = reference.INTENT
            trace.set_outputs(reference.OUTPUTS)

    def settle(self) -> None:
        """Wait until every file and row is written."""
        if not ire_otel.flush(60):
            raise RuntimeError("a batch was not written within 60 seconds")

    def clean(self) -> None:
        """Delete the trace files."""
        shutil.rmtree(self._folder / "projects", ignore_errors=True)

    def close(self) -> None:
        """Compare what was recorded with the rows in the database."""
        ire_otel.shutdown(60)
        with closing(sqlite3.connect(self._folder / "traces.db")) as database:
            (rows,) = database.execute("SELECT count(*) FROM traces WHERE trace_file_path IS NOT NULL").fetchone()
        if rows != self._runs:
            raise RuntimeError(f"{self._runs} runs were recorded, {rows} have a file and a row")


def _record_stage(open_stage: Stage, stage: reference.Stage) -> None:
    for decision in stage.decisions:
        ire_otel.decide(
            decision.kind,
            what=decision.what,
            why=decision.why,
            confidence=decision.confidence,
            alternatives=decision.alternatives,
            inputs=decision.inputs,
        )
    for score in stage.scores:
        open_stage.score(score.principle, score.score, name=score.name, feedback=score.feedback)
    if stage.prompts:
        open_stage.prompts(**stage.prompts)
    if stage.evidence:
        open_stage.evidence(**stage.evidence)
    open_stage.set_outputs(stage.outputs)
