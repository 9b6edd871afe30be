"""The knobs of collection and synthesis, which a failed gate may turn, and the remedies that turn them."""

import msgspec


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How one iteration collects and writes."""

    candidates: int = 48
    """How many passages retrieval may return, all sources together."""
    require_all_terms: bool = True
    """Whether passages that hold every term go first; else any term will do."""
    quality_threshold: float = 0.5
    """Composite score, 0 to 1, below which evidence is filtered out."""
    max_per_document: int = 4
    """How many passages of one document are kept."""
    statements: int = 14
    """How many sentences the findings hold at most."""
    max_sentence_words: int = 45
    """Longest sentence that is quoted, in words."""
    similarity_limit: float = 0.6
    """Jaccard similarity of two sentences' stems, 0 to 1, above which the second is dropped."""
    specificity_weight: float = 0.1
    """Weight of concrete wording when sentences are ranked, beside 1 for covering the brief."""
    contrast_statements: int = 0
    """How many sentences that qualify or contradict are asked for."""
    statements_per_source: int = 14
    """How many sentences may come from one document."""
    cited_only: bool = False
    """Whether sentences without a citation are struck from the findings."""
    prefer_recent: bool = False
    """Whether newer evidence goes first when sentences are ranked."""


class Remedy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a failed gate may change, for gaps of one kind."""

    description: str
    """What is done, as a phrase."""
    recollect: bool = False
    """Whether evidence has to be collected anew."""
    changes: dict[str, bool | int | float]
    """New values for fields of `Plan`."""

    def apply(self, plan: Plan) -> Plan:
        """`plan` with the changes; a field that `Plan` does not have is an error."""
        return msgspec.convert({**msgspec.structs.asdict(plan), **self.changes}, Plan)
