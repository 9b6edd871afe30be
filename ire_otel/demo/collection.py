"""Choose sources, formulate queries, gather passages and have them scored."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import ire_otel
from ire_otel.demo.intake import Brief
from ire_otel.demo.plan import Plan
from ire_otel.demo.retrieval import Hit, PassageIndex, all_of, any_of
from ire_otel.demo.scoring import Evidence, EvidenceQualityScorer, Rejected
from ire_otel.errors import IreOtelError

_MIN_SHARE = 0.03
_EVEN = {"exploring": 0.5, "validating": 0.7, "executing": 0.2, "learning": 0.3}
"""How much of the candidates is dealt out evenly over the sources, by intent; the rest goes by matches."""


class NoEvidenceError(IreOtelError):
    """Nothing in the corpus matches the query."""


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one collection."""

    kept: tuple[Evidence, ...]
    """Evidence to write from, best first."""
    rejected: tuple[Rejected, ...]
    """Evidence filtered out."""


class CollectorCoordinator(ire_otel.TracingComponent):
    """Gathers evidence from the sources of the corpus."""

    def __init__(self, index: PassageIndex) -> None:
        self._index = index
        self._scorer = EvidenceQualityScorer(index)

    @property
    def component_name(self) -> str:
        """The name under which decisions appear."""
        return "CollectorCoordinator"

    def get_trace_schema(self) -> dict[str, Any]:
        """The decisions and outputs of this component."""
        return {
            "decisions": ["source_selection", "query_formulation", "candidate_allocation", "source_result"],
            "outputs": ["evidence_passed", "evidence_filtered", "quality_threshold_used"],
        }

    def collect(self, brief: Brief, plan: Plan) -> Collected:
        """Evidence for `brief`.

        Raises:
            NoEvidenceError: no passage of the corpus holds a term of the query.
        """
        with ire_otel.stage("collection", component=self.component_name) as stage:
            matches = self._select_sources(brief)
            queries = self._formulate(brief, plan)
            quotas = self._allocate(brief, plan, matches)
            hits = [hit for source in quotas for hit in self._search(source, queries, quotas[source], matches)]
            kept, rejected = self._scorer.filter(self._scorer.score(hits, brief), plan)
            stage.evidence(
                kept=[evidence.entry() for evidence in kept],
                filtered_out=[{**one.evidence.entry(), "reason": one.reason} for one in rejected],
                by_source=dict(Counter(hit.passage.document.source for hit in hits)),
                query_terms_used=queries,
                collected_count=len(hits),
            )
            stage.set_outputs(
                {
                    "evidence_passed": len(kept),
                    "evidence_filtered": len(rejected),
                    "quality_threshold_used": plan.quality_threshold,
                }
            )
        return Collected(kept=tuple(kept), rejected=tuple(rejected))

    def _select_sources(self, brief: Brief) -> dict[str, int]:
        match = any_of(brief.terms)
        counts = {source: self._index.count(match, source) for source in self._index.sources}
        total = sum(counts.values())
        if not total:
            raise NoEvidenceError(
                f"query {brief.query!r}: no passage of the corpus holds {', '.join(brief.terms)}; "
                "ask with other words or name another --corpus"
            )
        chosen = {source: count for source, count in counts.items() if count / total >= _MIN_SHARE}
        ranked = sorted(chosen, key=lambda source: -chosen[source])
        left_out = [f"{source} ({counts[source]} matches)" for source in counts if source not in chosen]
        self.decide(
            "source_selection",
            what=", ".join(
                f"{source} ({'supplemental' if number else 'primary'})" for number, source in enumerate(ranked)
            ),
            why=f"{total} passages hold a term of the query: "
            + ", ".join(f"{counts[source]} in {source}" for source in ranked)
            + f"; a source needs {_MIN_SHARE:.0%} of them",
            confidence=round(sum(chosen.values()) / total, 2),
            alternatives=[f"add {source}" for source in left_out] or [f"{ranked[0]} alone"],
            inputs={"available_sources": list(counts), "matches": counts},
        )
        return {source: chosen[source] for source in ranked}

    def _formulate(self, brief: Brief, plan: Plan) -> list[str]:
        narrow, wide = all_of(brief.terms), any_of(brief.terms)
        hits = {"all": self._index.count(narrow), "any": self._index.count(wide)}
        queries = [narrow, wide] if plan.require_all_terms and hits["all"] and narrow != wide else [wide]
        self.decide(
            "query_formulation",
            what=queries,
            why=f"{hits['all']} passages hold all {len(brief.terms)} terms and {hits['any']} hold any; "
            + ("the first query brings the closest, the second the rest" if len(queries) > 1 else "one query will do"),
            # The more passages hold everything asked for, the surer the words are the corpus's own.
            confidence=round(1 - 0.5 ** (1 + math.log2(1 + hits["all"])), 2),
            alternatives=["any term only" if len(queries) > 1 else "all terms first"],
            inputs={"research_brief": brief.query, "hits": hits, "require_all_terms": plan.require_all_terms},
        )
        return queries

    def _allocate(self, brief: Brief, plan: Plan, matches: Mapping[str, int]) -> dict[str, int]:
        even, total = _EVEN[brief.intent], sum(matches.values())
        shares = {source: even / len(matches) + (1 - even) * count / total for source, count in matches.items()}
        quotas = {source: max(1, round(share * plan.candidates)) for source, share in shares.items()}
        fillable = sum(min(quotas[source], matches[source]) for source in quotas)
        self.decide(
            "candidate_allocation",
            what=quotas,
            why=f"{plan.candidates} candidates; for {brief.intent}, {even:.0%} go evenly to {len(matches)} sources "
            "and the rest by matches",
            confidence=round(min(1.0, fillable / plan.candidates), 2),
            alternatives=["all by matches", "all evenly"],
            inputs={"matches": dict(matches), "candidates": plan.candidates},
        )
        return quotas

    def _search(self, source: str, queries: Sequence[str], limit: int, matches: Mapping[str, int]) -> list[Hit]:
        found: dict[int, Hit] = {}
        for query in queries:
            for hit in self._index.search(query, source=source, limit=limit):
                found.setdefault(hit.passage.number, hit)
        best = sorted(found.values(), key=lambda hit: (-hit.bm25, hit.passage.number))[:limit]
        mean = sum(hit.bm25 for hit in best) / len(best) if best else 0.0
        self.decide(
            "source_result",
            what=f"{source}: {len(best)} passages from {len({hit.passage.document.key for hit in best})} documents",
            why=f"bm25 from {best[-1].bm25:.1f} to {best[0].bm25:.1f}, mean {mean:.1f}; {matches[source]} matched"
            if best
            else "nothing matched",
            # A source whose typical hit is close to its best one is about the subject throughout.
            confidence=round(mean / best[0].bm25, 2) if best else 0.0,
            alternatives=[f"take all {matches[source]}"] if matches[source] > len(best) else [],
            inputs={"limit": limit, "queries": list(queries)},
        )
        return best
