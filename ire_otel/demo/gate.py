"""Judge a report against the rubric and say whether it passes."""

import hashlib

import msgspec

import ire_otel
from ire_otel.demo.checks import Graded, grade
from ire_otel.demo.draft import read_report
from ire_otel.demo.intake import Brief
from ire_otel.demo.rubric import Rubric
from ire_otel.demo.synthesis import Report

GAP = 2
"""A score below this is a gap."""
STRENGTH = 3
"""A score of this is a strength."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate found."""

    passed: bool
    """Whether the report may go out."""
    overall_score: float
    """Weighted mean of the principles that count, 0 to 3."""
    grades: tuple[Graded, ...]
    """Every principle's score, in the rubric's order."""
    gaps: tuple[Graded, ...]
    """The scores below 2 among the principles that count, costliest first."""


def judge(report: Report, brief: Brief, rubric: Rubric) -> Verdict:
    """The verdict from the scores of all principles; those idle under the intent are scored but do not count."""
    draft = read_report(report.markdown, report.documents)
    grades = tuple(grade(principle, draft, brief) for principle in rubric.principles)
    counting = [one for one in grades if one.principle.id not in rubric.idle]
    weight = sum(one.principle.weight for one in counting)
    overall = round(sum(one.score * one.principle.weight for one in counting) / weight, 2)
    fatal = any(one.score == 0 and one.principle.critical for one in counting)
    gaps = [one for one in counting if one.score < GAP]
    gaps.sort(key=lambda one: -_cost(one))
    return Verdict(
        passed=overall >= rubric.threshold and not fatal, overall_score=overall, grades=grades, gaps=tuple(gaps)
    )


def _cost(graded: Graded) -> float:
    return (GAP - graded.score) * graded.principle.weight


def review(report: Report, brief: Brief, rubric: Rubric, iteration: int) -> Verdict:
    """Judge `report` as the stage `quality_gate`."""
    with ire_otel.stage("quality_gate", component="QualityGate") as stage:
        verdict = judge(report, brief, rubric)
        for one in verdict.grades:
            idle = " Does not count under this intent." if one.principle.id in rubric.idle else ""
            stage.score(one.principle.id, one.score, name=one.principle.name, feedback=one.feedback + idle)
        stage.verdict(passed=verdict.passed, overall_score=verdict.overall_score, threshold=rubric.threshold)
        _decide_scores(verdict)
        _decide_verdict(verdict, report, rubric)
        stage.set_outputs({"passed": verdict.passed, "iteration": iteration})
    return verdict


def _decide_scores(verdict: Verdict) -> None:
    strengths = [one for one in verdict.grades if one.score == STRENGTH]
    ire_otel.decide(
        "gap_analysis",
        what=[one.principle.id for one in verdict.gaps],
        why="; ".join(
            f"{one.principle.id} {one.principle.name} {one.score}: {one.feedback}" for one in verdict.gaps[:3]
        )
        or f"no counting principle is below {GAP}; {len(strengths)} score {STRENGTH}",
        confidence=1.0,
        inputs={one.principle.id: one.measure for one in verdict.grades},
    )


def _decide_verdict(verdict: Verdict, report: Report, rubric: Rubric) -> None:
    counting = [one for one in verdict.grades if one.principle.id not in rubric.idle]
    good = sum(1 for one in counting if one.score >= GAP)
    fatal = [one.principle.id for one in counting if one.score == 0 and one.principle.critical]
    word, other = ("PASS", "FAIL") if verdict.passed else ("FAIL", "PASS")
    margin = verdict.overall_score - rubric.threshold
    ire_otel.decide(
        "quality_assessment",
        what=f"{word} (overall: {verdict.overall_score}/3.0, threshold: {rubric.threshold})",
        why=f"{good} of {len(counting)} counting principles score {GAP} or more, {len(verdict.gaps)} are gaps"
        + (f"; critical at 0: {', '.join(fatal)}" if fatal else ""),
        # One band of one principle of mean weight moves the score by 1/n: that is the margin's natural unit.
        confidence=round(min(1.0, 0.5 + abs(margin) * len(counting) / 10), 2) if not fatal else 1.0,
        alternatives=[
            f"{other} with a threshold {'above' if verdict.passed else 'of at most'} {verdict.overall_score}"
        ],
        inputs={
            "report_sha256": hashlib.sha256(report.markdown.encode()).hexdigest(),
            "report_length": len(report.markdown),
            "rubric": f"{len(verdict.grades)} principles",
        },
    )
