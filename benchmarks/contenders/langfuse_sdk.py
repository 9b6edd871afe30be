"""Langfuse's SDK with the sink as its host; a decision is an observation of the type `event`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks import reference
from benchmarks.contenders import Contender
from benchmarks.sink import received

TITLE: Final = "Langfuse"
PACKAGES: Final = ("langfuse",)


class Langfuse(Contender):
    """Spans go over OTLP/HTTP; scores go their own way, over Langfuse's ingestion API, and are not counted."""

    spans_of_decision = 1

    def __init__(self, sink: str) -> None:
        super().__init__()
        import langfuse  # pyright: ignore[reportMissingImports] # an optional peer

        self._client: Any = langfuse.Langfuse(public_key="local", secret_key="local", host=sink)  # noqa: S106 # the sink asks none
        self._sink = sink

    def reference_run(self) -> None:
        """Record the reference run."""
        about = {"project": reference.PROJECT, "report_type": reference.REPORT_TYPE}
        start = self._client.start_as_current_observation
        with start(name="research run", input=reference.QUERY, metadata=about) as run:
            for stage in reference.STAGES:
                with start(name=stage.name, metadata={"component": stage.component}) as span:
                    self._record_stage(span, stage)
            run.update(output=reference.OUTPUTS, metadata={"intent": reference.INTENT})

    def decisions_run(self, decisions: Iterable[reference.Decision]) -> None:
        """Record a run with one stage."""
        start = self._client.start_as_current_observation
        with start(name="research run"), start(name="collection"):
            for decision in decisions:
                self._decide(decision)

    def _record_stage(self, span: Any, stage: reference.Stage) -> None:
        for decision in stage.decisions:
            self._decide(decision)
        for score in stage.scores:
            span.score(name=score.principle, value=score.score, comment=score.feedback)
        if stage.prompts:
            span.update(input=stage.prompts)
        if stage.evidence:
            span.update(metadata=stage.evidence)
        span.update(output=stage.outputs)

    def _decide(self, decision: reference.Decision) -> None:
        about = {"confidence": decision.confidence, "alternatives": decision.alternatives}
        output = {"what": decision.what, "why": decision.why}
        self._client.create_event(name=decision.kind, input=decision.inputs, output=output, metadata=about)

    def settle(self) -> None:
        """Send everything that is queued."""
        self._client.flush()

    def stop(self) -> int:
        """Count what the sink got."""
        self._client.shutdown()
        return received(self._sink)


def make(sink: str, folder: Path) -> Contender:  # noqa: ARG001 # as all contenders are made
    """Send to the sink."""
    return Langfuse(sink)
