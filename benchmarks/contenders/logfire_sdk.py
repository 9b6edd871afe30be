"""Pydantic Logfire with the sink as its backend (`base_url`, as for a self-hosted one); a decision is a log line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks import reference
from benchmarks.contenders import Contender
from benchmarks.sink import received

TITLE: Final = "Logfire"
PACKAGES: Final = ("logfire",)


class Logfire(Contender):
    """Logfire's own exporter, which batches faster than a plain OTLP one; its scrubbing is on, as it comes.

    A decision is a span without duration; so is a score.
    """

    spans_of_decision = spans_of_score = 1

    def __init__(self, sink: str) -> None:
        super().__init__()
        import logfire  # pyright: ignore[reportMissingImports] # an optional peer

        advanced = logfire.AdvancedOptions(base_url=sink)
        token = "local"  # noqa: S105 # the sink asks none
        logfire.configure(send_to_logfire=True, token=token, advanced=advanced, console=False)
        self._logfire: Any = logfire
        self._sink = sink

    def reference_run(self) -> None:
        """Record the reference run."""
        query, project, kind = reference.QUERY, reference.PROJECT, reference.REPORT_TYPE
        with self._logfire.span("research run", query=query, project=project, report_type=kind) as run:
            for stage in reference.STAGES:
                with self._logfire.span("stage {name}", name=stage.name, component=stage.component) as span:
                    self._record_stage(span, stage)
            run.set_attribute("intent", reference.INTENT)
            run.set_attribute("outputs", reference.OUTPUTS)

    def decisions_run(self, decisions: Iterable[reference.Decision]) -> None:
        """Record a run with one stage."""
        with self._logfire.span("research run"), self._logfire.span("stage {name}", name="collection"):
            for decision in decisions:
                self._decide(decision)

    def _record_stage(self, span: Any, stage: reference.Stage) -> None:
        for decision in stage.decisions:
            self._decide(decision)
        for score in stage.scores:
            self._logfire.info(
                "score {principle}",
                principle=score.principle,
                name=score.name,
                value=score.score,
                feedback=score.feedback,
            )
        span.set_attributes(stage.prompts)
        if stage.evidence:
            span.set_attribute("evidence", stage.evidence)
        span.set_attribute("outputs", stage.outputs)

    def _decide(self, decision: reference.Decision) -> None:
        self._logfire.info(
            "decision {type}",
            type=decision.kind,
            what=decision.what,
            why=decision.why,
            confidence=decision.confidence,
            alternatives=decision.alternatives,
            inputs=decision.inputs,
        )

    def settle(self) -> None:
        """Send everything that is queued."""
        self._logfire.force_flush()

    def stop(self) -> int:
        """Count what the sink got."""
        self._logfire.shutdown()
        return received(self._sink)


def make(sink: str, folder: Path) -> Contender:  # noqa: ARG001 # as all contenders are made
    """Send to the sink."""
    return Logfire(sink)
