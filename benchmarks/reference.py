"""The reference run, as plain data: 5 stages, 40 decisions, 50 evidence items, 120 KB of prompts, 21 principle scores.

Built once and never random, so that every contender records the very same content.
"""

from typing import Any, Final

import msgspec

PROJECT = "cobot"
QUERY = "What is the competitive landscape for collaborative robots in small manufacturing?"
INTENT = "validating"
REPORT_TYPE = "market_research"
DECISIONS_PER_STAGE = 8
EVIDENCE_ITEMS = 50
PROMPT_BYTES = 120_000
PRINCIPLES = (*(f"META-{number}" for number in range(1, 14)), *(f"MR-{number}" for number in range(1, 9)))


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What one call of `decide` is given, about 500 bytes in all."""

    kind: str
    what: str
    why: str
    confidence: float
    alternatives: list[str]
    inputs: dict[str, Any]


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's score of one principle."""

    principle: str
    name: str
    score: float
    feedback: str


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage records."""

    name: str
    component: str
    decisions: list[Decision]
    outputs: dict[str, Any]
    evidence: dict[str, Any] = {}
    prompts: dict[str, str] = {}
    scores: list[Score] = []


_COMPONENTS = {
    "intake": "ResearchOrchestrator",
    "rubric": "RubricLoader",
    "collection": "EvidenceQualityScorer",
    "synthesis": "synthesize_report",
    "quality_gate": "ResearchOrchestrator",
}


def _decision(stage: str, number: int) -> Decision:
    return Decision(
        kind=f"{stage}_choice_{number}",
        what=f"take option {number} of the {stage} stage, the narrow reading of the brief",
        why=(
            f"Option {number} answers the part of the query that names small manufacturers, and its sources are "
            "younger than the eighteen months that the rubric asks for; the broad reading scored lower on specificity."
        ),
        confidence=round(0.55 + number * 0.05, 2),
        alternatives=["broad reading of the brief (0.31)", "ask the user to clarify (0.12)"],
        inputs={"candidates": 12 + number, "threshold": 0.6, "signals": ["small", "competitive"], "section": stage},
    )


_CYCLE: Final = [_decision("collection", number) for number in range(DECISIONS_PER_STAGE)]


def decisions(count: int) -> list[Decision]:
    """Give any number of decisions, for runs of one stage."""
    return [_CYCLE[number % DECISIONS_PER_STAGE] for number in range(count)]


def _item(number: int) -> dict[str, Any]:
    scores = {"relevance": 0.9, "specificity": 0.7, "credibility": 0.8, "recency": 0.6, "composite": 0.74}
    return {
        "url": f"https://source-{number % 7}.example/reports/collaborative-robots-{number}",
        "title": f"Collaborative robots in workshops of under fifty people, part {number}",
        "source": f"source-{number % 7}",
        "scores": {name: round(score - number / 200, 3) for name, score in scores.items()},
    }


def _evidence() -> dict[str, Any]:
    items = [_item(number) for number in range(EVIDENCE_ITEMS)]
    kept, left_out = items[:35], items[35:]
    return {
        "collected_count": EVIDENCE_ITEMS,
        "by_source": {f"source-{number}": 7 for number in range(7)},
        "query_terms_used": ["cobot", "collaborative robot", "small manufacturer"],
        "filtered_out": [{**item, "reason": "composite score below 0.6"} for item in left_out],
        "kept": kept,
    }


def _prompts() -> dict[str, str]:
    paragraph = "Use only the evidence below, cite each claim by its number, and say so where the evidence is thin.\n"
    text = paragraph * (PROMPT_BYTES // len(paragraph) + 1)
    return {"system_prompt": text[: PROMPT_BYTES // 6], "user_message": text[: PROMPT_BYTES - PROMPT_BYTES // 6]}


def _score(number: int, principle: str) -> Score:
    return Score(
        principle=principle,
        name=f"Principle {principle}",
        score=float(1 + number % 3),
        feedback=f"{number % 5} of 12 sections fall short of {principle}; the weakest is section {number}, on prices.",
    )


def _stage(name: str) -> Stage:
    return Stage(
        name=name,
        component=_COMPONENTS[name],
        decisions=[_decision(name, number) for number in range(DECISIONS_PER_STAGE)],
        outputs={"status": "done", "items": 12, "notes": f"{name} finished without retries"},
        evidence=_evidence() if name == "collection" else {},
        prompts=_prompts() if name == "synthesis" else {},
        scores=[_score(*numbered) for numbered in enumerate(PRINCIPLES)] if name == "quality_gate" else [],
    )


STAGES = [_stage(name) for name in _COMPONENTS]
OUTPUTS = {"report_path": "brain/projects/cobot/artifacts/landscape.md", "words": 4_200}
