"""Read the query: intent, bias, kind of research and domain from its wording, and the brief for the report."""

import re
import tomllib
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Literal

import msgspec

import ire_otel
from ire_otel.demo.text import key_terms, stem
from ire_otel.errors import IreOtelError

Kind = Literal["intents", "biases", "research_types", "domains"]
"""What a query is classified by."""
_TOKEN = re.compile(r"[\w']+")
_PRIOR = 0.25
"""Weight that every class has before any cue is seen (Laplace smoothing), so that one weak cue is no certainty."""
_SILENCE = 1.0
"""Weight that the default gains where no class has a cue: saying nothing about a slant speaks for there being none."""


class QueryError(IreOtelError):
    """The query holds no word to search for."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One classification of a query, with what it rests on."""

    label: str
    """The class chosen."""
    confidence: float
    """Its share of all weight, 0 to 1."""
    runners_up: tuple[str, ...]
    """The other classes that had cues or prior weight, as `name (share)`, likeliest first."""
    cues: tuple[str, ...]
    """The phrases of the query that spoke for the class; empty where the default won without any."""
    why: str
    """The reason in words."""


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """What the report has to do for its reader."""

    query: str
    """The question in the reader's words."""
    intent: str
    """exploring, validating, executing or learning."""
    bias: str
    """The slant of the wording, or `no_bias`."""
    research_type: str
    """comparative, procedural, explanatory, survey or general."""
    domain: str
    """The subject area, or `general`."""
    terms: tuple[str, ...]
    """Content words to search for, in the query's order."""
    facets: tuple[tuple[str, ...], ...]
    """Aspects that the report has to cover: each term, and each pair of neighbouring ones."""

    @property
    def stems(self) -> frozenset[str]:
        """The stems of the terms."""
        return frozenset(stem(term) for term in self.terms)


class _Wording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    instruction_words: frozenset[str]
    intents: dict[str, dict[str, float]]
    biases: dict[str, dict[str, float]]
    research_types: dict[str, dict[str, float]]
    domains: dict[str, dict[str, float]]


@cache
def _wording() -> _Wording:
    text = files("ire_otel.demo").joinpath("intake.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Wording)


def classify(query: str, kind: Kind, default: str) -> Reading:
    """The class of `kind` that the query's wording speaks for.

    Each cue found adds its weight, and a longer cue hides the shorter ones inside it. `default` has a head start of one
    prior, and wins where nothing is found.
    """
    classes: dict[str, dict[str, float]] = getattr(_wording(), kind)
    found = {label: _found(query, cues) for label, cues in classes.items()}
    weights = {label: _PRIOR + sum(classes[label][cue] for cue in cues) for label, cues in found.items()}
    weights[default] = weights.get(default, _PRIOR) + (_PRIOR if any(found.values()) else _SILENCE)
    total = sum(weights.values())
    ranked = sorted(weights, key=lambda label: (-weights[label], label))
    cues = found.get(ranked[0], [])
    if cues:
        why = f"the wording contains {', '.join(repr(cue.strip()) for cue in cues)}"
    elif any(found.values()):
        why = f"the cues of {ranked[1]} weigh {weights[ranked[1]]:g}, less than the default's {weights[default]:g}"
    else:
        why = f"no cue of any class is in the wording; {default} is the default"
    return Reading(
        label=ranked[0],
        confidence=round(weights[ranked[0]] / total, 2),
        runners_up=tuple(f"{label} ({weights[label] / total:.2f})" for label in ranked[1:4]),
        cues=tuple(cues),
        why=why,
    )


def _found(query: str, cues: dict[str, float]) -> list[str]:
    text = " ".join(["", *_TOKEN.findall(query.lower()), ""])
    present = [cue for cue in cues if f" {cue.strip()} " in text]
    return [
        cue
        for cue in present
        if not any(cue != other and f" {cue.strip()} " in f" {other.strip()} " for other in present)
    ]


@ire_otel.traced_stage(
    "intake",
    component="QueryIntake",
    outputs=lambda brief: {
        "research_brief": f"Answer for a reader who is {brief.intent}: {brief.query}",
        "intent": brief.intent,
        "domain": brief.domain,
        "research_type": brief.research_type,
        "bias_flags": [] if brief.bias == "no_bias" else [brief.bias],
        "facets": [" ".join(facet) for facet in brief.facets],
    },
)
def read_query(query: str) -> Brief:
    """The brief for `query`; every classification is recorded.

    Raises:
        QueryError: the query has no content word.
    """
    terms = _search_terms(query)
    intent = _classified(query, "intents", "exploring", "classified_intent")
    bias = _classified(query, "biases", "no_bias", "bias_classification")
    research_type = _classified(query, "research_types", "general", "research_type_classification")
    domain = _classified(query, "domains", "general", "domain_classification")
    pairs = tuple(pairwise(terms))
    facets = (*((term,) for term in terms), *pairs)
    ire_otel.decide(
        "brief_scope",
        what=f"{len(facets)} facets: {len(terms)} terms and {len(pairs)} pairs of neighbouring terms",
        why=f"{len(terms)} words name the subject; neighbouring ones often form one concept, so pairs count as facets",
        confidence=1.0,
        alternatives=[f"{len(terms)} single terms only"],
        inputs={"terms": list(terms)},
    )
    return Brief(
        query=query, intent=intent, bias=bias, research_type=research_type, domain=domain, terms=terms, facets=facets
    )


def _search_terms(query: str) -> tuple[str, ...]:
    words = key_terms(query)
    terms = tuple(word for word in words if word not in _wording().instruction_words) or words
    if not terms:
        raise QueryError(f"query {query!r} has no word to search for; ask with at least one noun or verb")
    total = len(query.split())
    ire_otel.decide(
        "term_extraction",
        what=list(terms),
        why=f"{len(terms)} of {total} words carry a subject; the others instruct, bind words together or repeat a stem",
        confidence=round(min(1.0, len(terms) / 3), 2),
        alternatives=["search for every word of the query"],
        inputs={"query_text": query},
    )
    return terms


def _classified(query: str, kind: Kind, default: str, decision: str) -> str:
    reading = classify(query, kind, default)
    ire_otel.decide(
        decision,
        what=reading.label,
        why=reading.why,
        confidence=reading.confidence,
        alternatives=list(reading.runners_up),
        inputs={"query_text": query, "cues": list(reading.cues)},
    )
    return reading.label
