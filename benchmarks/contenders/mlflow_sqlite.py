"""MLflow Tracing with its default kind of store, a SQLite file; a decision is a span event, and so is a score."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from benchmarks import reference
from benchmarks.contenders import Contender

TITLE: Final = "MLflow"
PACKAGES: Final = ("mlflow",)


class MLflow(Contender):
    """MLflow with a file in the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        import mlflow  # pyright: ignore[reportMissingImports] # an optional peer
        from mlflow.entities import SpanEvent  # pyright: ignore[reportMissingImports] # an optional peer

        self._store = folder / "mlflow.db"
        mlflow.set_tracking_uri(f"sqlite:///{self._store}")
        self._mlflow: Any = mlflow
        self._event: Any = SpanEvent

    def reference_run(self) -> None:
        """Record the reference run."""
        about = {"project": reference.PROJECT, "report_type": reference.REPORT_TYPE}
        with self._mlflow.start_span("research run", attributes=about) as run:
            run.set_inputs({"query": reference.QUERY})
            for stage in reference.STAGES:
                with self._mlflow.start_span(stage.name, attributes={"component": stage.component}) as span:
                    self._record_stage(span, stage)
            run.set_attribute("intent", reference.INTENT)
            run.set_outputs(reference.OUTPUTS)

    def decisions_run(self, decisions: Iterable[reference.Decision]) -> None:
        """Record a run with one stage."""
        with self._mlflow.start_span("research run"), self._mlflow.start_span("collection") as span:
            for decision in decisions:
                self._decide(span, decision)

    def _record_stage(self, span: Any, stage: reference.Stage) -> None:
        for decision in stage.decisions:
            self._decide(span, decision)
        for score in stage.scores:
            said = {"name": score.name, "value": score.score, "feedback": score.feedback}
            span.add_event(self._event(score.principle, attributes=said))
        if stage.prompts:
            span.set_inputs(stage.prompts)
        span.set_outputs({**stage.outputs, **stage.evidence})

    def _decide(self, span: Any, decision: reference.Decision) -> None:
        said = {
            "what": decision.what,
            "why": decision.why,
            "confidence": decision.confidence,
            "alternatives": decision.alternatives,
            "inputs": decision.inputs,
        }
        span.add_event(self._event(decision.kind, attributes=said))

    def settle(self) -> None:
        """Wait until everything is in the database."""
        self._mlflow.flush_trace_async_logging()

    def stop(self) -> int:
        """Count the spans in the database."""
        self.settle()
        if not self._store.exists():
            return 0
        with closing(sqlite3.connect(self._store)) as database:
            (rows,) = database.execute("SELECT count(*) FROM spans").fetchone()
        return int(rows)


def make(sink: str, folder: Path) -> Contender:  # noqa: ARG001 # as all contenders are made
    """Store in the folder."""
    return MLflow(folder)
