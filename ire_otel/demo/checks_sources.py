"""Checks on what a report's claims rest on: citations, authors, dates, spread. Each measures one figure; pure."""

import re
from collections import Counter
from collections.abc import Callable, Mapping

from ire_otel.demo.draft import Draft
from ire_otel.demo.intake import Brief
from ire_otel.demo.measurement import Measurement, quoted
from ire_otel.demo.scoring import credibility
from ire_otel.demo.text import stem, stems

_PLACE = re.compile(r"https?://\S+|pydoc:\S+|package:\S+|\S+\.(?:md|txt|html?)\b")
_NAME = re.compile(r"(?<=[a-z,:] )[A-Z][A-Za-z]+[A-Za-z0-9]*|\b[A-Z]{2,}[a-z0-9]*\b|[a-z][A-Z]\w+|\b\w+_\w+\b")
_UNKNOWN_AGE_YEARS = 4.0
_HALF_LIFE_YEARS = 4.0
_DAYS_A_YEAR = 365.25
_NO_CITATION = Measurement(value=0.0, feedback="No finding cites a source.")


def citation_share(draft: Draft, _brief: Brief) -> Measurement:
    """Share of findings with an inline citation."""
    bare = [statement.text for statement in draft.findings if not statement.citations]
    total = len(draft.findings)
    example = f"; uncited: {quoted(bare[0])}" if bare else ""
    return Measurement(
        value=1 - len(bare) / total, feedback=f"{total - len(bare)} of {total} sentences cite a source{example}."
    )


def attribution(draft: Draft, _brief: Brief) -> Measurement:
    """Share of findings that cite a source which is listed with a place to find it."""
    cited = sorted({number for statement in draft.findings for number in statement.citations})
    lost = {number for number in cited if not _PLACE.search(draft.listed.get(number, ""))}
    if not cited:
        return _NO_CITATION
    traced = [one for one in draft.findings if set(one.citations) - lost]
    return Measurement(
        value=len(traced) / len(draft.findings),
        feedback=f"{len(traced)} of {len(draft.findings)} claims can be traced to a listed source"
        + (f"; without a place: {', '.join(f'[{number}]' for number in sorted(lost)[:5])}." if lost else "."),
    )


def corroboration(draft: Draft, brief: Brief) -> Measurement:
    """Share of the query's terms that findings from two or more documents take up."""
    support = {term: len(_documents_with(draft, stem(term))) for term in brief.terms}
    backed = [term for term, count in support.items() if count > 1]
    return Measurement(
        value=len(backed) / len(support),
        feedback="Documents behind each term: " + ", ".join(f"{term} {count}" for term, count in support.items()) + ".",
    )


def _documents_with(draft: Draft, wanted: str) -> set[int]:
    return {number for one in draft.findings if wanted in stems(one.text) for number in one.citations}


def named_authors(draft: Draft, _brief: Brief) -> Measurement:
    """Number of different authors that the cited documents name."""
    cited = {document.key: document for document in draft.cited}
    names = Counter(document.author for document in cited.values() if document.author)
    return Measurement(
        value=float(len(names)),
        feedback=f"{names.total()} of {len(cited)} cited documents name an author; {len(names)} different ones: "
        f"{', '.join(name for name, _ in names.most_common(4)) or 'none'}.",
    )


def mean_credibility(draft: Draft, _brief: Brief) -> Measurement:
    """Mean credibility of the cited documents, 0 to 1."""
    if not draft.cited:
        return _NO_CITATION
    values = {document.title: credibility(document) for document in draft.cited}
    least = min(values, key=lambda title: values[title])
    mean = sum(credibility(document) for document in draft.cited) / len(draft.cited)
    return Measurement(
        value=mean, feedback=f"{len(values)} cited documents; least credible is {quoted(least)} at {values[least]:.2f}."
    )


def recency(draft: Draft, _brief: Brief) -> Measurement:
    """Mean freshness of the citations: 1 for the newest document given, halved every four years; undated counts 0.5."""
    days = [document.published for document in draft.documents if document.published]
    if not draft.cited:
        return _NO_CITATION
    newest = max(days, default=None)
    ages = [
        (newest - one.published).days / _DAYS_A_YEAR if newest and one.published else _UNKNOWN_AGE_YEARS
        for one in draft.cited
    ]
    dated = sum(1 for one in draft.cited if one.published)
    return Measurement(
        value=sum(0.5 ** (age / _HALF_LIFE_YEARS) for age in ages) / len(ages),
        feedback=f"{dated} of {len(ages)} citations are dated; the newest document is of {newest or 'unknown date'}.",
    )


def largest_share(draft: Draft, _brief: Brief) -> Measurement:
    """Share of the citations that go to the most cited document; less is better."""
    if not draft.cited:
        return Measurement(value=1.0, feedback=_NO_CITATION.feedback)
    counts = Counter(document.title for document in draft.cited)
    title, count = counts.most_common(1)[0]
    return Measurement(
        value=count / len(draft.cited),
        feedback=f"{count} of {len(draft.cited)} citations go to {quoted(title)}; {len(counts)} documents are cited.",
    )


def named_players(draft: Draft, _brief: Brief) -> Measurement:
    """Number of different names (products, modules, acronyms) in the findings."""
    names = Counter(name for statement in draft.findings for name in _NAME.findall(statement.text))
    examples = ", ".join(name for name, _ in names.most_common(5))
    return Measurement(value=float(len(names)), feedback=f"{len(names)} different names appear: {examples or 'none'}.")


CHECKS: Mapping[str, Callable[[Draft, Brief], Measurement]] = {
    check.__name__: check
    for check in (
        citation_share, attribution, corroboration, named_authors, mean_credibility, recency, largest_share,
        named_players,
    )
}  # fmt: skip
"""The checks of this module by name."""
