"""Choose the sentences of the report from the evidence. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date

import msgspec

from ire_otel.demo.checks_text import COMPARISON, CONTRAST, RISK
from ire_otel.demo.corpus import Document
from ire_otel.demo.intake import Brief
from ire_otel.demo.plan import Plan
from ire_otel.demo.scoring import SPECIFIC, Evidence
from ire_otel.demo.text import similarity, stem, stems

_DANGLING = re.compile(
    r"^(?:This|That|These|Those|It|They|He|She|If (?:it|they|so|not)|In (?:this|that) case|For more|Such|See|Otherwise"
    r"|For example|Note|Changed in|New in)\b"
)
"""Openings that lean on the sentence before, which a quotation leaves behind."""
_RECENT_WEIGHT = 0.5


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence chosen for the report."""

    text: str
    """The sentence as it stands in the document."""
    document: Document
    """Where it stands."""
    terms: frozenset[str]
    """Stems of the query's terms that it holds."""
    value: float
    """Its rank value when chosen."""

    def cited(self, number: int) -> str:
        """The sentence with its citation before the full stop."""
        if self.text.endswith(("?", "!", '"', "”", ")")):
            return f"{self.text} [{number}]"
        return f"{self.text.rstrip('.')} [{number}]."


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    document: Document
    stems: frozenset[str]
    terms: frozenset[str]
    base: float


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The sentences chosen, and what was passed over."""

    quotes: tuple[Quote, ...]
    """In the order chosen, best first."""
    considered: int
    """Sentences that hold a term of the query and stand on their own."""
    passed_over: dict[str, int]
    """Why sentences were left out: reason to count."""


def select(evidence: Sequence[Evidence], brief: Brief, plan: Plan) -> Selection:
    """Sentences that together cover the brief: greedily, each the one that adds most to those before."""
    passed_over: Counter[str] = Counter()
    pool = _candidates(evidence, brief, plan, passed_over)
    considered = len(pool)
    quotes: list[Quote] = []
    taken: list[frozenset[str]] = []
    while pool and len(quotes) < plan.statements:
        covered = Counter(term for quote in quotes for term in quote.terms)
        missing = sum(1 for quote in quotes if _qualifies(quote.text)) < plan.contrast_statements
        best = max(pool, key=lambda one: _value(one, covered, wants_contrast=missing))
        pool.remove(best)
        per_document = sum(1 for quote in quotes if quote.document.key == best.document.key)
        if per_document >= plan.statements_per_source:
            passed_over["document already quoted enough"] += 1
        elif any(similarity(set(best.stems), set(other)) > plan.similarity_limit for other in taken):
            passed_over["too similar to a chosen sentence"] += 1
        else:
            value = round(_value(best, covered, wants_contrast=missing), 3)
            quotes.append(Quote(text=best.text, document=best.document, terms=best.terms, value=value))
            taken.append(best.stems)
    if pool:
        passed_over["report is full"] += len(pool)
    return Selection(quotes=tuple(quotes), considered=considered, passed_over=dict(passed_over))


def _candidates(evidence: Sequence[Evidence], brief: Brief, plan: Plan, passed_over: Counter[str]) -> list[_Candidate]:
    pool: dict[str, _Candidate] = {}
    newest = max((one.passage.document.published for one in evidence if one.passage.document.published), default=None)
    for one in evidence:
        for sentence in one.passage.sentences:
            terms = frozenset(stems(sentence)) & brief.stems
            reason = _unfit(sentence, terms, plan)
            if reason:
                passed_over[reason] += 1
            elif sentence not in pool:
                base = one.scores.composite + plan.specificity_weight * bool(SPECIFIC.search(sentence))
                base += _RECENT_WEIGHT * _freshness(one, newest) if plan.prefer_recent else 0.0
                document = one.passage.document
                pool[sentence] = _Candidate(
                    text=sentence, document=document, stems=frozenset(stems(sentence)), terms=terms, base=base
                )
    return list(pool.values())


def _freshness(evidence: Evidence, newest: date | None) -> float:
    return 0.0 if newest is None or evidence.passage.document.published is None else evidence.scores.recency


def _unfit(sentence: str, terms: frozenset[str], plan: Plan) -> str:
    if not terms:
        return "holds no term of the query"
    if _DANGLING.match(sentence):
        return "leans on the sentence before"
    if len(sentence.split()) > plan.max_sentence_words:
        return f"longer than {plan.max_sentence_words} words"
    return ""


def _value(candidate: _Candidate, covered: Counter[str], *, wants_contrast: bool) -> float:
    # Each further sentence on a covered term is worth half of the one before: diminishing returns spread the coverage.
    coverage = sum(0.5 ** covered[term] for term in candidate.terms)
    contrast = 1.0 if wants_contrast and _qualifies(candidate.text) else 0.0
    return coverage + candidate.base + contrast


def _qualifies(text: str) -> bool:
    return bool(CONTRAST.search(text) or COMPARISON.search(text) or RISK.search(text))


def sections(quotes: Sequence[Quote], brief: Brief) -> dict[str, list[Quote]]:
    """The quotes under headings: each under its term with the most quotes, in the order of the query's terms."""
    popularity = Counter(term for quote in quotes for term in quote.terms)
    home = {quote.text: max(sorted(quote.terms), key=lambda term: popularity[term]) for quote in quotes}
    groups = {term.capitalize(): [quote for quote in quotes if home[quote.text] == stem(term)] for term in brief.terms}
    return {heading: group for heading, group in groups.items() if group}
