"""Score evidence on relevance, specificity, credibility and recency, and filter it with reasons."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import ire_otel
from ire_otel.demo.corpus import Document
from ire_otel.demo.intake import Brief
from ire_otel.demo.plan import Plan
from ire_otel.demo.retrieval import Hit, Passage, PassageIndex, any_of
from ire_otel.demo.text import count_matches, similarity, stem, stems

SPECIFIC = re.compile(r"\d|\w_\w|\w\(\)|[a-z][A-Z]|\"[^\"]+\"|(?<=[a-z,] )[A-Z][a-z]{2,}|\b[A-Z]{2,}\b")
"""A number, an identifier, a quoted name, a proper name inside a sentence, or an acronym: concrete wording."""

WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "exploring": {"relevance": 0.45, "specificity": 0.15, "credibility": 0.20, "recency": 0.20},
    "validating": {"relevance": 0.40, "specificity": 0.15, "credibility": 0.35, "recency": 0.10},
    "executing": {"relevance": 0.45, "specificity": 0.30, "credibility": 0.15, "recency": 0.10},
    "learning": {"relevance": 0.55, "specificity": 0.10, "credibility": 0.30, "recency": 0.05},
}
"""How much each score counts in the composite, by intent; each row sums to 1."""

_TIERS = (("A", 0.7), ("B", 0.6))
_MIN_RELEVANCE = 0.25
_DUPLICATE = 0.8
_NEAR = 0.03
_HALF_LIFE_YEARS = 4.0
_NEUTRAL = 0.5
_DAYS_A_YEAR = 365.25


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of one passage, each 0 to 1."""

    relevance: float
    """Share of the brief's terms it holds, rare ones counting more, mixed with its bm25 against the best."""
    specificity: float
    """Share of its sentences with concrete wording."""
    credibility: float
    """How far its publisher vouches for it, whether it names an author and an address."""
    recency: float
    """1 for the newest text of the corpus, halved every four years; 0.5 where the date is unknown."""
    composite: float
    """The weighted mean."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A passage with its scores."""

    passage: Passage
    """The passage."""
    scores: Scores
    """What it is worth."""

    @property
    def tier(self) -> str:
        """A (composite from 0.7), B (from 0.6) or C."""
        return next((name for name, floor in _TIERS if self.scores.composite >= floor), "C")

    def entry(self) -> dict[str, Any]:
        """The passage as a trace lists it."""
        document = self.passage.document
        return {
            "url": document.url,
            "title": document.title,
            "source": document.source,
            "passage": self.passage.number,
            "published": document.published,
            "tier": self.tier,
            "scores": msgspec.structs.asdict(self.scores),
        }


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence that was filtered out."""

    evidence: Evidence
    """The passage with its scores."""
    rule: str
    """The kind of reason."""
    reason: str
    """The reason with its figures."""


class EvidenceQualityScorer(ire_otel.TracingComponent):
    """Scores passages against the brief and decides which are good enough."""

    def __init__(self, index: PassageIndex) -> None:
        self._index = index

    @property
    def component_name(self) -> str:
        """The name under which decisions appear."""
        return "EvidenceQualityScorer"

    def get_trace_schema(self) -> dict[str, Any]:
        """The decisions that this component takes."""
        rules = ["filter_off_topic", "filter_low_quality", "filter_document_limit", "filter_duplicate"]
        return {"decisions": ["score_weights", "score_calculation", "tier_assignment", "filter_decision", *rules]}

    def score(self, hits: Sequence[Hit], brief: Brief) -> list[Evidence]:
        """The hits with their scores, best composite first."""
        weights = WEIGHTS[brief.intent]
        self._decide_weights(brief, weights)
        rarity = self._rarity(brief)
        best = max((hit.bm25 for hit in hits), default=1.0)
        scored = [Evidence(passage=hit.passage, scores=self._scores(hit, rarity, best, weights)) for hit in hits]
        scored.sort(key=lambda evidence: (-evidence.scores.composite, evidence.passage.number))
        if scored:
            self._decide_scores(scored)
        return scored

    def _scores(self, hit: Hit, rarity: Mapping[str, float], best: float, weights: Mapping[str, float]) -> Scores:
        document = hit.passage.document
        present = stems(f"{document.title} {hit.passage.text}")
        coverage = sum(weight for term, weight in rarity.items() if term in present) / sum(rarity.values())
        parts = {
            "relevance": 0.6 * coverage + 0.4 * hit.bm25 / best,
            "specificity": count_matches(SPECIFIC, hit.passage.sentences) / len(hit.passage.sentences),
            "credibility": credibility(document),
            "recency": self._recency(document),
        }
        parts["composite"] = sum(weights[name] * value for name, value in parts.items())
        return Scores(**{name: round(value, 3) for name, value in parts.items()})

    def _rarity(self, brief: Brief) -> dict[str, float]:
        total = len(self._index.passages)
        return {stem(term): 1 - self._index.count(any_of([term])) / (total + 1) for term in brief.terms}

    def _recency(self, document: Document) -> float:
        if document.published is None or self._index.newest is None:
            return _NEUTRAL
        return float(0.5 ** ((self._index.newest - document.published).days / _DAYS_A_YEAR / _HALF_LIFE_YEARS))

    def filter(self, scored: Sequence[Evidence], plan: Plan) -> tuple[list[Evidence], list[Rejected]]:
        """What is kept, best first, and what is not, with the reasons."""
        kept: list[Evidence] = []
        rejected: list[Rejected] = []
        per_document: Counter[tuple[str, str]] = Counter()
        for evidence in scored:
            rule, reason = _objection(evidence, kept, per_document, plan)
            if rule:
                rejected.append(Rejected(evidence=evidence, rule=rule, reason=reason))
            else:
                kept.append(evidence)
                per_document[evidence.passage.document.key] += 1
        self._decide_tiers(kept)
        self._decide_filters(scored, rejected, plan)
        return kept, rejected

    def _decide_weights(self, brief: Brief, weights: Mapping[str, float]) -> None:
        first, second = sorted(weights, key=lambda name: -weights[name])[:2]
        self.decide(
            "score_weights",
            what=dict(weights),
            why=f"{brief.intent} readers need {first} ({weights[first]:.2f}) and {second} ({weights[second]:.2f}) most",
            confidence=1.0,
            alternatives=[f"{intent}: {dict(row)}" for intent, row in WEIGHTS.items() if intent != brief.intent],
            inputs={"intent": brief.intent},
        )

    def _decide_scores(self, scored: Sequence[Evidence]) -> None:
        best, worst = scored[0], scored[-1]
        dated = sum(1 for evidence in scored if evidence.passage.document.published)
        mean = sum(evidence.scores.composite for evidence in scored) / len(scored)
        self.decide(
            "score_calculation",
            what=f"{len(scored)} passages scored, composite {worst.scores.composite} to {best.scores.composite}",
            why=f"mean {mean:.2f}; best is {best.passage.document.title!r} with relevance {best.scores.relevance} and "
            f"credibility {best.scores.credibility}; {len(scored) - dated} passages are undated, recency {_NEUTRAL}",
            # Recency is a guess where nothing is dated, and everything else is measured.
            confidence=round(0.75 + 0.25 * dated / len(scored), 2),
            inputs={"newest": self._index.newest, "best": best.entry(), "worst": worst.entry()},
        )

    def _decide_tiers(self, kept: Sequence[Evidence]) -> None:
        tiers = Counter(evidence.tier for evidence in kept)
        near = sum(1 for one in kept if any(abs(one.scores.composite - floor) < _NEAR for _, floor in _TIERS))
        self.decide(
            "tier_assignment",
            what={name: tiers[name] for name in "ABC"},
            why=f"A from composite {_TIERS[0][1]}, B from {_TIERS[1][1]}; {near} within {_NEAR} of a border",
            confidence=round(1 - near / len(kept), 2) if kept else None,
            alternatives=["one tier for all evidence"],
            inputs={"tiers": dict(_TIERS), "kept": len(kept)},
        )

    def _decide_filters(self, scored: Sequence[Evidence], rejected: Sequence[Rejected], plan: Plan) -> None:
        near = sum(1 for one in scored if abs(one.scores.composite - plan.quality_threshold) < _NEAR)
        self.decide(
            "filter_decision",
            what=f"keep {len(scored) - len(rejected)} of {len(scored)}",
            why=f"composite threshold {plan.quality_threshold}; {near} passages are within {_NEAR} of it",
            confidence=round(1 - near / len(scored), 2) if scored else None,
            alternatives=[f"threshold {value}: {_above(scored, value)} reach it" for value in (0.4, 0.6)],
            inputs={"quality_threshold": plan.quality_threshold, "max_per_document": plan.max_per_document},
        )
        for rule, count in sorted(Counter(one.rule for one in rejected).items()):
            examples = [one for one in rejected if one.rule == rule]
            self.decide(
                f"filter_{rule}",
                what=f"drop {count} passages",
                why=f"{examples[0].reason}, for example {_titled(examples[0])}",
                confidence=round(sum(_certainty(one, plan) for one in examples) / count, 2),
                inputs={"urls": [one.evidence.passage.document.url for one in examples]},
            )


def credibility(document: Document) -> float:
    """0 to 1: seven tenths the publisher's own statement of maturity, the rest for a named author and an address."""
    address = document.url.startswith(("https://", "pydoc:"))
    return round(0.7 * document.maturity + 0.15 * (document.author is not None) + 0.15 * address, 3)


def _objection(
    evidence: Evidence, kept: Sequence[Evidence], per_document: Mapping[tuple[str, str], int], plan: Plan
) -> tuple[str, str]:
    scores, document = evidence.scores, evidence.passage.document
    if scores.relevance < _MIN_RELEVANCE:
        return "off_topic", f"relevance below {_MIN_RELEVANCE}"
    if scores.composite < plan.quality_threshold:
        parts = {"specificity": scores.specificity, "credibility": scores.credibility, "recency": scores.recency}
        return (
            "low_quality",
            f"composite below {plan.quality_threshold}, weakest in {min(parts, key=lambda name: parts[name])}",
        )
    if per_document.get(document.key, 0) >= plan.max_per_document:
        return "document_limit", f"{plan.max_per_document} better passages of the document are kept"
    mine = stems(evidence.passage.text)
    if any(similarity(mine, stems(one.passage.text)) >= _DUPLICATE for one in kept):
        return "duplicate", f"shares at least {_DUPLICATE:.0%} of its words with better evidence"
    return "", ""


def _titled(rejected: Rejected) -> str:
    scores = rejected.evidence.scores
    title = rejected.evidence.passage.document.title
    return f"{title!r} (relevance {scores.relevance}, composite {scores.composite})"


def _above(scored: Sequence[Evidence], value: float) -> int:
    return sum(1 for evidence in scored if evidence.scores.composite >= value)


def _certainty(rejected: Rejected, plan: Plan) -> float:
    """How sure a rejection is: a limit is certain, a score the more so the further it lies below its floor."""
    scores = rejected.evidence.scores
    floors = {
        "off_topic": (scores.relevance, _MIN_RELEVANCE),
        "low_quality": (scores.composite, plan.quality_threshold),
    }
    value, floor = floors.get(rejected.rule, (0.0, 1.0))
    return min(1.0, 0.5 + (floor - value) / floor)
