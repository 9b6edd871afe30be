"""Trace documents for tests of what is made from one."""

from typing import Any

from ire_otel.model import (
    Decision,
    Metadata,
    PrincipleScore,
    Run,
    ScoreNote,
    StageTrace,
    TokenUsage,
    TraceDocument,
)

STARTED = "2026-02-13T10:30:00.000000Z"
LOCATION = "brain/projects/cobot/_traces/trc_20260213_00000000000000a1.json"


def decision(kind: str = "classified_intent", **fields: Any) -> Decision:
    """Give a decision with a reason."""
    given: dict[str, Any] = {
        "what": "validating",
        "why": "The query assumes what it asks.",
        "confidence": 0.85,
        "timestamp": STARTED,
        "component": "Intake",
    }
    return Decision(decision=kind, **(given | fields))


def sample_document(number: int = 0xA1, *, stages: dict[str, StageTrace] | None = None, **fields: Any) -> TraceDocument:
    """Give a complete run of five stages; keywords replace its fields, those of `run` included."""
    about = {name: fields.pop(name) for name in Run.__struct_fields__ if name in fields}
    run: dict[str, Any] = {
        "query": "What is the competitive landscape for collaborative robots?",
        "intent": "validating",
        "domain": "robotics",
        "report_type": "market_research",
        "research_type": "competitive",
        "started_at": STARTED,
        "completed_at": "2026-02-13T10:34:22.000000Z",
        "duration_seconds": 262.0,
        "status": "complete",
    }
    document: dict[str, Any] = {
        "trace_id": f"trc_20260213_{number:016x}",
        "project_id": "uuid-here",
        "project_name": "cobot",
        "run": Run(**(run | about)),
        "stages": _stages() if stages is None else stages,
        "outputs": {
            "report_path": "brain/projects/cobot/artifacts/report.md",
            "evidence_paths": ["brain/e1", "brain/e2"],
        },
        "metadata": Metadata(generator="test", otel_trace_id="0" * 31 + "1", otel_span_id=f"{number:016x}"),
    }
    return TraceDocument(**(document | fields))


def _stages() -> dict[str, StageTrace]:
    kept = [{"url": "https://ifr.org/report-2025", "title": "World Robotics", "scores": {"composite": 0.93}}]
    filtered = [
        {"url": "https://ifr.org/old", "reason": "published 2019", "scores": {"relevance": 0.3, "recency": 0.1}},
        {"url": "https://spam-site.com/robots", "reason": "low credibility", "scores": {"credibility": 0.2}},
    ]
    evidence = {"collected_count": 28, "by_source": {"exa": 22, "reddit": 6}, "kept": kept, "filtered_out": filtered}
    return {
        "intake": StageTrace(started_at=STARTED, duration_seconds=5.2, decisions=[decision()]),
        "rubric": StageTrace(started_at=STARTED, duration_seconds=0.3, decisions=[decision("rubric_loaded")]),
        "collection": StageTrace(
            started_at=STARTED,
            duration_seconds=45.8,
            evidence=evidence,
            outputs={"evidence_passed": 18, "evidence_filtered": 10},
        ),
        "synthesis": StageTrace(
            started_at=STARTED,
            duration_seconds=180.5,
            model="claude-opus-4-6",
            token_usage=TokenUsage(input_tokens=45_000, output_tokens=3_800, total_tokens=48_800),
            cost_usd=0.32,
        ),
        "quality_gate": StageTrace(
            started_at=STARTED,
            duration_seconds=30.2,
            decisions=[decision("quality_assessment")],
            principle_scores=[
                PrincipleScore(id="META-1", name="No Generics", score=3, feedback="specific throughout"),
                PrincipleScore(id="META-12", name="Source Attribution", score=1, feedback="claims lack citations"),
            ],
            overall_score=2.4,
            passing=True,
            threshold=2.0,
            gaps=[ScoreNote(id="META-12", score=1)],
            strengths=[ScoreNote(id="META-1", score=3)],
        ),
    }
