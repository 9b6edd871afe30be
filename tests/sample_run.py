"""The records of a whole run: a market study on collaborative robots, passed by its quality gate."""

from typing import Any

from ire_otel.records import EventRecord, SpanRecord
from tests.run_records import attributes, decision, event, run_span, score, stage_span

QUERY = "What is the competitive landscape for collaborative robots?"
PRINCIPLES = ["META-1", "META-3", "META-5", "META-12"]


def sample_run() -> list[SpanRecord]:
    """Every stage once, with evidence, prompts, usage, scores and a verdict."""
    return [_run(), _intake(), _rubric(), _collection(), _synthesis(), _quality_gate()]


def _run() -> SpanRecord:
    return run_span(
        event("child", 255, attributes(child_id="trc_20260213_00000000000000c1", seq=90)),
        event(
            "child",
            256,
            attributes(
                child_id="trc_20260213_00000000000000c1",
                child_output_type="evidence_pack",
                child_path="brain/projects/cobot/evidence/pack.json",
                seq=91,
            ),
        ),
        end=262.0,
        project_id="0b54b1a2-7c13-4b4e-9f7e-3b1f5f0f8f10",
        project_name="cobot",
        run_query=QUERY,
        run_domain="robotics",
        run_report_type="market_research",
        run_research_type="competitive",
        run_overhead_ms=45.0,
        run_outputs={
            "report_path": "brain/projects/cobot/artifacts/competitive-landscape-2026-02-13.md",
            "evidence_paths": ["brain/projects/cobot/evidence/competitive/ifr.json"],
            "knowledge_paths": [],
        },
    )


def _intake() -> SpanRecord:
    return stage_span(
        "intake",
        0.1,
        5.3,
        decision(
            "classified_intent",
            2.0,
            what="validating",
            why="User has existing hypothesis about market position, wants confirmation or challenge",
            confidence=0.85,
            alternatives=["exploring (0.10)", "executing (0.05)"],
            inputs={"query_text": QUERY, "user_context": "planning a product"},
            component="IntentClassifier",
            seq=1,
        ),
        decision(
            "bias_classification",
            4.0,
            what="confirmation_bias",
            why="Query assumes collaborative robots are winning — needs testing",
            confidence=0.72,
            alternatives=["no_bias (0.28)"],
            inputs={"query_text": QUERY},
            component="IntentClassifier",
            seq=2,
        ),
        stage_outputs={
            "research_brief": "Market shares and players, 2025 and 2026",
            "intent": "validating",
            "bias_flags": ["confirmation_bias"],
        },
    )


def _rubric() -> SpanRecord:
    return stage_span(
        "rubric",
        5.3,
        5.6,
        decision(
            "rubric_loaded",
            5.4,
            what="21 principles (13 META + 8 MR)",
            why="report_type=market_research, domain=None, intent=validating",
            confidence=1.0,
            alternatives=[],
            inputs={"report_type": "market_research", "domain": None, "intent": "validating"},
            component="RubricLoader",
            seq=3,
        ),
        decision(
            "intent_activation",
            5.5,
            what="activated: [challenge, skepticism]; deactivated: [quick_start, personalize]",
            why="Validating intent emphasizes critical evaluation and source rigor",
            confidence=1.0,
            inputs={"intent": "validating"},
            component="RubricLoader",
            seq=4,
        ),
        stage_outputs={
            "total_principles": 21,
            "activated_count": 19,
            "deactivated_count": 2,
            "critical_principles": PRINCIPLES[:3],
            "principle_list": PRINCIPLES,
        },
    )


def _collection() -> SpanRecord:
    return stage_span(
        "collection",
        5.6,
        51.4,
        decision(
            "source_selection",
            6.0,
            what="exa (primary), reddit (supplemental)",
            why="competitive research benefits from industry reports + community sentiment",
            confidence=0.90,
            alternatives=["add linkedin (0.60)", "add twitter (0.40)"],
            inputs={"research_type": "competitive", "available_sources": ["exa", "reddit"]},
            component="CollectorCoordinator",
            seq=5,
        ),
        decision(
            "query_formulation",
            6.5,
            what=["collaborative robot market share 2025 2026", "cobot competition universal robots fanuc"],
            why="Two-pronged: market data + competitive players",
            confidence=0.80,
            alternatives=["single broad query"],
            inputs={"research_brief": "Market shares and players, 2025 and 2026"},
            component="CollectorCoordinator",
            seq=6,
        ),
        stage_evidence=_evidence(),
        stage_outputs={"evidence_passed": 1, "evidence_filtered": 2, "quality_threshold_used": 0.5},
    )


def _evidence() -> dict[str, Any]:
    return {
        "query_terms_used": ["collaborative robot market share 2025 2026", "cobot competition"],
        "filtered_out": [
            {
                "url": "https://example.com/old-article",
                "reason": "published 2019, below recency threshold",
                "scores": {"relevance": 0.3, "recency": 0.1},
                "source": "exa",
            },
            {
                "url": "https://example.com/robots",
                "reason": "low credibility score",
                "scores": {"credibility": 0.2},
                "source": "reddit",
            },
        ],
        "kept": [
            {
                "url": "https://ifr.org/report-2025",
                "title": "IFR World Robotics 2025",
                "scores": {"relevance": 0.95, "specificity": 0.88, "credibility": 0.97, "composite": 0.93},
                "source": "exa",
            }
        ],
    }


def _synthesis() -> SpanRecord:
    return stage_span(
        "synthesis",
        51.4,
        231.9,
        decision(
            "prompt_construction",
            52.0,
            what="module synthesis prompt + rubric injection (19 active principles)",
            why="Standard flow: module prompt provides structure, rubric provides quality guardrails",
            confidence=1.0,
            inputs={"module": "market_research", "rubric_injected": True, "active_principles": 19},
            component="synthesize_report",
            seq=7,
        ),
        stage_prompt_={"user_message": "Evidence: …", "system_prompt": "You write a market study.\nRules: …"},
        stage_model="claude-opus-4-6",
        stage_input_tokens=45000,
        stage_output_tokens=3800,
        stage_cost_usd=0.32,
        stage_outputs={"report_length_chars": 15200, "sources_cited": 12, "sections_generated": 7},
    )


def _quality_gate() -> SpanRecord:
    return stage_span(
        "quality_gate",
        231.9,
        262.0,
        *_scores(),
        decision(
            "quality_assessment",
            260.0,
            what="PASS (overall: 2.4/3.0, threshold: 2.0)",
            why="19/21 principles scored >= 2, 2 gaps identified",
            confidence=0.88,
            alternatives=["FAIL + retry if overall < 2.0"],
            inputs={"report_text": "15200 characters", "rubric": "21 principles"},
            component="ResearchOrchestrator",
            seq=12,
        ),
        gate_threshold=2.0,
        gate_overall_score=2.4,
        stage_outputs={"passed": True, "iteration": 1},
    )


def _scores() -> list[EventRecord]:
    said = [
        ("META-1", 3, "No Generics", "Report uses specific market data throughout"),
        ("META-3", 2.5, "Skepticism", "Names two counter-arguments"),
        ("META-12", 1.0, "Source Attribution", "Several claims lack inline citations"),
    ]
    return [
        score(principle, value, 240 + seq, seq=seq, principle_name=name, score_explanation=feedback)
        for seq, (principle, value, name, feedback) in enumerate(said, start=8)
    ]
