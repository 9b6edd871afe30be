"""Checks on a report's wording and build. Each measures one figure; pure."""

import re
from collections.abc import Callable, Mapping

from ire_otel.demo.draft import LIMITS_HEADING, Draft
from ire_otel.demo.intake import Brief
from ire_otel.demo.measurement import Measurement, quoted
from ire_otel.demo.scoring import SPECIFIC
from ire_otel.demo.text import similarity, stem, stems

CONTRAST = re.compile(
    r"\b(?:however|but|although|though|unless|except|instead|whereas|despite|only if|even if|not|cannot|rather than)\b",
    re.IGNORECASE,
)
COMPARISON = re.compile(
    r"\b(?:than|compared|unlike|whereas|versus|similar to|equivalent|alternative|instead of|faster|slower|more|less"
    r"|better|both|same as|differs?|different)\b",
    re.IGNORECASE,
)
RISK = re.compile(
    r"\b(?:errors?|fail(?:s|ed|ure)?|deprecated|removed|warnings?|unsafe|limit(?:s|ed|ation)?|must not|should not"
    r"|raised?|cannot|exceptions?|never|only)\b",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:may|might|could|perhaps|possibly|probably|usually|often|generally|typically|seems?|likely)\b", re.IGNORECASE
)
_NUMBER = re.compile(r"\d")


def _share(draft: Draft, pattern: re.Pattern[str], what: str) -> Measurement:
    texts = [statement.text for statement in draft.findings]
    matching = [text for text in texts if pattern.search(text)]
    example = f", such as {quoted(matching[0])}" if matching else ""
    return Measurement(
        value=len(matching) / len(texts), feedback=f"{len(matching)} of {len(texts)} sentences {what}{example}."
    )


def specific_share(draft: Draft, _brief: Brief) -> Measurement:
    """Share of sentences with a number, identifier or name."""
    vague = [one.text for one in draft.findings if not SPECIFIC.search(one.text)]
    total = len(draft.findings)
    example = f"; vague: {quoted(vague[0])}" if vague else ""
    return Measurement(
        value=1 - len(vague) / total,
        feedback=f"{total - len(vague)} of {total} sentences name something concrete{example}.",
    )


def summary_coverage(draft: Draft, brief: Brief) -> Measurement:
    """Share of the query's terms in the first section."""
    first = next(section for section in draft.sections if section.statements)
    present = stems(" ".join(statement.text for statement in first.statements))
    missing = [term for term in brief.terms if stem(term) not in present]
    return Measurement(
        value=1 - len(missing) / len(brief.terms),
        feedback=f"The opening, {first.heading or 'without heading'}, takes up {len(brief.terms) - len(missing)} of "
        f"{len(brief.terms)} terms of the query{_lacking(missing)}.",
    )


def facet_coverage(draft: Draft, brief: Brief) -> Measurement:
    """Share of the brief's facets that at least one sentence holds entirely."""
    sets = draft.stem_sets()
    missing = [facet for facet in brief.facets if not any({stem(term) for term in facet} <= one for one in sets)]
    covered = len(brief.facets) - len(missing)
    lacking = _lacking([" ".join(facet) for facet in missing])
    return Measurement(
        value=covered / len(brief.facets),
        feedback=f"{covered} of {len(brief.facets)} facets of the brief are taken up{lacking}.",
    )


def heading_match(draft: Draft, brief: Brief) -> Measurement:
    """Share of section headings that use a term of the query."""
    headings = [section.heading for section in draft.sections if section.heading not in {"", LIMITS_HEADING}]
    matching = [heading for heading in headings if stems(heading) & brief.stems]
    return Measurement(
        value=len(matching) / max(1, len(headings)),
        feedback=f"{len(matching)} of {len(headings)} headings use the query's words: {', '.join(matching) or 'none'}.",
    )


def contrast_share(draft: Draft, _brief: Brief) -> Measurement:
    """Share of sentences that qualify, deny or contrast."""
    return _share(draft, CONTRAST, "qualify or contradict")


def comparison_share(draft: Draft, _brief: Brief) -> Measurement:
    """Share of sentences that compare."""
    return _share(draft, COMPARISON, "compare")


def risk_share(draft: Draft, _brief: Brief) -> Measurement:
    """Share of sentences on errors, limits and deprecations."""
    return _share(draft, RISK, "speak of errors, limits or removals")


def number_share(draft: Draft, _brief: Brief) -> Measurement:
    """Share of sentences with a number."""
    return _share(draft, _NUMBER, "hold a number")


def hedging(draft: Draft, _brief: Brief) -> Measurement:
    """Share of hedged sentences; less is better."""
    return _share(draft, _HEDGE, "hedge")


def novelty(draft: Draft, brief: Brief) -> Measurement:
    """Mean share of a sentence's content words that neither the query nor an earlier sentence has."""
    known, shares = set(brief.stems), list[float]()
    for one in draft.stem_sets():
        shares.append(len(one - known) / len(one) if one else 0.0)
        known |= one
    weakest = min(range(len(shares)), key=lambda position: shares[position])
    return Measurement(
        value=sum(shares) / len(shares),
        feedback=f"On average {sum(shares) / len(shares):.0%} of a sentence's words are new; least, "
        f"{shares[weakest]:.0%}, in {quoted(draft.findings[weakest].text)}.",
    )


def repetition(draft: Draft, _brief: Brief) -> Measurement:
    """Mean, over sentences, of the greatest similarity to any other; less is better."""
    sets = draft.stem_sets()
    nearest = [
        max((similarity(one, other) for other in sets[:at] + sets[at + 1 :]), default=0.0)
        for at, one in enumerate(sets)
    ]
    worst = max(range(len(nearest)), key=lambda position: nearest[position])
    return Measurement(
        value=sum(nearest) / len(nearest),
        feedback=f"The most repeated sentence shares {nearest[worst]:.0%} of its words with another: "
        f"{quoted(draft.findings[worst].text)}.",
    )


def sentence_length(draft: Draft, _brief: Brief) -> Measurement:
    """Mean words a sentence; less is better."""
    lengths = [len(statement.text.split()) for statement in draft.findings]
    mean = sum(lengths) / len(lengths)
    return Measurement(
        value=mean, feedback=f"{len(lengths)} sentences average {mean:.1f} words, the longest has {max(lengths)}."
    )


def balance(draft: Draft, _brief: Brief) -> Measurement:
    """Share of sections, of at least three, that hold two sentences or more."""
    sizes = {
        section.heading: len(section.statements) for section in draft.sections if section.heading != LIMITS_HEADING
    }
    thin = [heading for heading, size in sizes.items() if size < 2]  # noqa: PLR2004 - one sentence makes no section
    return Measurement(
        value=(len(sizes) - len(thin)) / max(3, len(sizes)),
        feedback=f"{len(sizes) - len(thin)} of {len(sizes)} sections hold several sentences{_lacking(thin, 'thin')}.",
    )


def _lacking(names: list[str], word: str = "missing") -> str:
    return f"; {word}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}" if names else ""  # noqa: PLR2004 - five examples


CHECKS: Mapping[str, Callable[[Draft, Brief], Measurement]] = {
    check.__name__: check
    for check in (
        specific_share, summary_coverage, facet_coverage, heading_match, contrast_share, comparison_share, risk_share,
        number_share, hedging, novelty, repetition, sentence_length, balance,
    )
}  # fmt: skip
"""The checks of this module by name."""
