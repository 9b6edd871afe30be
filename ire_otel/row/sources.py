"""Count evidence by source: what was kept, what was filtered out, how it scored. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ire_otel.model import Attempt
from ire_otel.row.columns import SourceRow
from ire_otel.row.mending import Mending, mapping, opened


class _Item(msgspec.Struct, frozen=True):
    """One piece of evidence."""

    source: str
    kept: bool
    score: float | None


def sources(trace_id: str, attempts: Iterable[Attempt], mend: Mending) -> Iterator[SourceRow]:
    """Give one row per source over all attempts; a URL that was judged more than once counts as it was judged last."""
    evidence = [attempt.evidence for attempt in attempts if isinstance(attempt.evidence, Mapping)]
    collected = _collected(evidence)
    judged = list(_judged(evidence))
    # Where no item says where it comes from, nobody knows how many of a counted source were kept.
    named = any(isinstance(entry.get("source"), str) for entry, _ in judged)
    groups: dict[str, list[_Item]] = {mend.name("source", source) or "": [] for source in collected}
    for item in _unique(judged):
        groups.setdefault(mend.name("source", item.source) or "", []).append(item)
    for source, items in groups.items():
        scores = [item.score for item in items if item.score is not None]
        known = named or bool(items)
        yield SourceRow(
            trace_id=trace_id,
            source=source,
            collected=mend.integer("collected", collected.get(source)),
            kept=sum(item.kept for item in items) if known else None,
            filtered=sum(not item.kept for item in items) if known else None,
            mean_score=mend.number("mean_score", sum(scores) / len(scores)) if scores else None,
        )


def _collected(evidence: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for part in evidence:
        for source, count in mapping(part.get("by_source")).items():
            if isinstance(count, int):
                counts[source] = counts.get(source, 0) + count
    return counts


def _judged(evidence: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    for part in evidence:
        for kept, key in ((True, "kept"), (False, "filtered_out")):
            entries = opened(part.get(key))
            for entry in entries if isinstance(entries, list) else ():
                yield mapping(entry), kept


def _unique(judged: Iterable[tuple[Mapping[str, Any], bool]]) -> Iterable[_Item]:
    items: dict[object, _Item] = {}
    for entry, kept in judged:
        url = entry.get("url")
        items[url if isinstance(url, str) else len(items)] = _Item(_source(entry), kept, _score(entry))
    return items.values()


def _source(entry: Mapping[str, Any]) -> str:
    source, url = entry.get("source"), entry.get("url")
    if isinstance(source, str) and source:
        return source
    return (_host(url) if isinstance(url, str) else None) or "unknown"


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _score(entry: Mapping[str, Any]) -> float | None:
    scores = mapping(entry.get("scores"))
    composite = _number(scores.get("composite"))
    if composite is not None:
        return composite
    numbers = [number for number in map(_number, scores.values()) if number is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
