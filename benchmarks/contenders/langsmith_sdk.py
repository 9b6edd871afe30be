"""LangSmith's SDK with the sink as its endpoint; a decision is a run of its own inside its stage."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from benchmarks import reference
from benchmarks.contenders import Contender
from benchmarks.sink import received

TITLE: Final = "LangSmith"
PACKAGES: Final = ("langsmith",)


class LangSmith(Contender):
    """Its client sends compressed batches from a thread; scores are feedback, and are not counted."""

    spans_of_decision = 1

    def __init__(self, sink: str) -> None:
        super().__init__()
        import langsmith  # pyright: ignore[reportMissingImports] # an optional peer

        self._langsmith: Any = langsmith
        self._client: Any = langsmith.Client(api_url=sink, api_key="local")
        self._session = uuid4()
        self._sink = sink

    def reference_run(self) -> None:
        """Record the reference run."""
        about = {"project": reference.PROJECT, "report_type": reference.REPORT_TYPE}
        with self._trace("research run", inputs={"query": reference.QUERY}, metadata=about) as run:
            for stage in reference.STAGES:
                about = {"component": stage.component}
                with self._trace(stage.name, inputs={**stage.prompts}, metadata=about) as span:
                    self._record_stage(span, stage)
            run.add_metadata({"intent": reference.INTENT})
            run.end(outputs=reference.OUTPUTS)

    def decisions_run(self, decisions: Iterable[reference.Decision]) -> None:
        """Record a run with one stage."""
        with self._trace("research run"), self._trace("collection"):
            for decision in decisions:
                self._decide(decision)

    def _trace(self, name: str, **fields: Any) -> Any:
        return self._langsmith.trace(name, run_type="chain", client=self._client, **fields)

    def _record_stage(self, span: Any, stage: reference.Stage) -> None:
        for decision in stage.decisions:
            self._decide(decision)
        for score in stage.scores:
            about = {"score": score.score, "comment": score.feedback, "session_id": self._session}
            self._client.create_feedback(span.id, key=score.principle, trace_id=span.trace_id, **about)
        span.end(outputs={**stage.outputs, **stage.evidence})

    def _decide(self, decision: reference.Decision) -> None:
        about = {"confidence": decision.confidence, "alternatives": decision.alternatives}
        with self._trace(decision.kind, inputs=decision.inputs, metadata=about) as run:
            run.end(outputs={"what": decision.what, "why": decision.why})

    def settle(self) -> None:
        """Send everything that is queued."""
        self._client.flush()

    def stop(self) -> int:
        """Count what the sink got."""
        self._client.flush()
        self._client.cleanup()
        return received(self._sink)


def make(sink: str, folder: Path) -> Contender:  # noqa: ARG001 # as all contenders are made
    """Send to the sink."""
    return LangSmith(sink)
