"""Run the stages in order, and again where the quality gate says so."""

import hashlib
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

import ire_otel
from ire_otel.demo.collection import Collected, CollectorCoordinator
from ire_otel.demo.gate import GAP, Verdict, review
from ire_otel.demo.intake import Brief, read_query
from ire_otel.demo.plan import Plan
from ire_otel.demo.retrieval import PassageIndex
from ire_otel.demo.rubric import Rubric, RubricLoader
from ire_otel.demo.synthesis import Model, Report, synthesize_report
from ire_otel.errors import IreOtelError
from ire_otel.settings import Settings

MAX_ITERATIONS = 2
"""How often a report is written at most."""
_REMEDIES_AT_ONCE = 2


class ReportError(IreOtelError):
    """The report or its evidence cannot be written."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run."""

    trace: ire_otel.Trace
    """Its trace, ended; pass it to `finish_sync` to wait for file and row."""
    verdict: Verdict
    """The last verdict of the gate."""
    report_path: Path
    """The report's file."""
    iterations: int
    """How often the report was written."""


class ResearchOrchestrator(ire_otel.TracingComponent):
    """Answers a query from a corpus: intake, rubric, collection, synthesis, quality gate."""

    def __init__(self, index: PassageIndex, settings: Settings, *, model: Model | None = None) -> None:
        self._index = index
        self._settings = settings
        self._model = model

    @property
    def component_name(self) -> str:
        """The name under which decisions appear."""
        return "ResearchOrchestrator"

    def get_trace_schema(self) -> dict[str, Any]:
        """The decisions and outputs of this component."""
        return {
            "decisions": ["routing", "stage_order", "retry", "acceptance"],
            "outputs": ["report_path", "evidence_paths", "knowledge_paths"],
        }

    def run(self, query: str, *, project: str, report_type: str) -> Result:
        """Answer `query` with a report in the project's `artifacts` folder.

        Raises:
            QueryError: the query has no content word.
            NoEvidenceError: nothing in the corpus matches.
            CompletionError: the model's endpoint cannot be used.
            ReportError: the report cannot be written.
        """
        # An argument in a foreign encoding arrives with lone surrogates, which no file takes.
        query = query.encode("utf-8", "replace").decode()
        with ire_otel.run(query=query, project_name=project, report_type=report_type) as trace:
            try:
                brief = read_query(query)
                trace.intent, trace.domain, trace.research_type = brief.intent, brief.domain, brief.research_type
                self._route(brief, report_type)
                rubric = RubricLoader().load(brief, report_type)
                report, collected, verdict, iterations = self._iterate(trace, brief, rubric)
                paths = self._write(project, brief, report, collected)
            except IreOtelError as error:
                trace.mark_failed(str(error))
                raise
            trace.set_outputs({**paths, "knowledge_paths": []})
            trace.mark_complete()
        return Result(trace=trace, verdict=verdict, report_path=Path(paths["report_path"]), iterations=iterations)

    def _route(self, brief: Brief, report_type: str) -> None:
        writer = self._model.name if self._model else "the extractive writer"
        self.decide(
            "routing",
            what=f"{report_type} by {writer}",
            why=f"{report_type} was asked for; research type {brief.research_type} and intent {brief.intent} "
            f"set source spread and score weights; the corpus has {len(self._index.sources)} sources",
            confidence=1.0,
            alternatives=[] if self._model else ["a chat model (--llm)"],
            inputs={"intent": brief.intent, "research_type": brief.research_type, "sources": list(self._index.sources)},
        )
        self.decide(
            "stage_order",
            what=["rubric", "collection", "synthesis", "quality_gate"],
            why=f"the gate may send the report back {MAX_ITERATIONS - 1} time; the rubric comes first because its "
            "principles are part of the prompt",
            confidence=1.0,
            inputs={"max_iterations": MAX_ITERATIONS},
        )

    def _iterate(self, trace: ire_otel.Trace, brief: Brief, rubric: Rubric) -> tuple[Report, Collected, Verdict, int]:
        plan, changes, scores = Plan(), "", list[float]()
        coordinator = CollectorCoordinator(self._index)
        collected = coordinator.collect(brief, plan)
        iteration = 1
        while True:
            report = synthesize_report(brief, rubric, collected.kept, plan, self._model)
            verdict = review(report, brief, rubric, iteration)
            trace.record_iteration(_iteration_record(iteration, verdict, changes))
            scores.append(verdict.overall_score)
            if verdict.passed or iteration == MAX_ITERATIONS:
                self._accept(verdict, iteration, best=max(scores))
                return report, collected, verdict, iteration
            plan, changes, recollect = self._remedy(verdict, rubric, plan)
            if recollect:
                collected = coordinator.collect(brief, plan)
            iteration += 1

    def _remedy(self, verdict: Verdict, rubric: Rubric, plan: Plan) -> tuple[Plan, str, bool]:
        """What the costliest gaps ask for: the new plan, the change in words, and whether to collect anew."""
        costs: defaultdict[str, float] = defaultdict(float)
        for gap in verdict.gaps:
            costs[gap.principle.remedy] += (GAP - gap.score) * gap.principle.weight
        ranked = sorted(costs, key=lambda name: (-costs[name], name))
        chosen = [rubric.remedies[name] for name in ranked[:_REMEDIES_AT_ONCE]]
        # Applied in reverse: where two set the same knob, the one that answers more keeps its value.
        for remedy in reversed(chosen):
            plan = remedy.apply(plan)
        changes = " and ".join(remedy.description for remedy in chosen)
        worst = ", ".join(f"{gap.principle.id} {gap.principle.name} ({gap.score})" for gap in verdict.gaps[:4])
        self.decide(
            "retry",
            what=changes,
            why=f"overall {verdict.overall_score} failed; the costliest gaps are {worst}",
            # The share of all lost weight that the chosen remedies answer.
            confidence=round(sum(costs[name] for name in ranked[:_REMEDIES_AT_ONCE]) / sum(costs.values()), 2),
            alternatives=[
                f"{rubric.remedies[name].description} (answers {costs[name]:g})" for name in ranked[_REMEDIES_AT_ONCE:]
            ],
            inputs={"lost_weight_by_remedy": dict(costs), "plan": msgspec.structs.asdict(plan)},
        )
        return plan, changes, any(remedy.recollect for remedy in chosen)

    def _accept(self, verdict: Verdict, iteration: int, best: float) -> None:
        better = [f"deliver the earlier report, which scored {best}"] if best > verdict.overall_score else []
        self.decide(
            "acceptance",
            what="deliver" if verdict.passed else "deliver, marked as failed",
            why=f"{'passed' if verdict.passed else 'failed'} at {verdict.overall_score} in iteration {iteration} "
            f"of at most {MAX_ITERATIONS}",
            confidence=1.0,
            alternatives=better or (["write once more"] if iteration < MAX_ITERATIONS else ["withhold the report"]),
            inputs={"iteration": iteration, "passed": verdict.passed},
        )

    def _write(self, project: str, brief: Brief, report: Report, collected: Collected) -> dict[str, Any]:
        folder = self._settings.project_dir(project)
        name = slug(brief.query)
        report_path = folder / "artifacts" / f"{name}.md"
        evidence_path = folder / "evidence" / f"{name}.json"
        for path, content in (
            (report_path, report.markdown.encode("utf-8", "replace")),
            (evidence_path, msgspec.json.format(msgspec.json.encode([one.entry() for one in collected.kept]))),
        ):
            _save(path, content)
        return {"report_path": str(report_path), "evidence_paths": [str(evidence_path)]}


def _save(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}; free it or set another brain_dir") from error


def _iteration_record(iteration: int, verdict: Verdict, changes: str) -> dict[str, Any]:
    record = {
        "iteration": iteration,
        "quality_gate_result": "PASS" if verdict.passed else "FAIL",
        "overall_score": verdict.overall_score,
        "gaps": [gap.principle.id for gap in verdict.gaps],
    }
    return {**record, "changes_from_previous": changes} if changes else record


def slug(text: str) -> str:
    """A file name for `text`: at most 60 characters of words and hyphens, and a digest that keeps texts apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].rstrip("-")
    return f"{plain or 'report'}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"
