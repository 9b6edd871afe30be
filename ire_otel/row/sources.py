"""Count evidence by source: what was kept, what was filtered out, how it scored. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from ire_otel.model import Attempt
from ire_otel.row.columns import SourceRow
from ire_otel.row.mending import Mending, mapping, opened


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """What is read of one piece of evidence."""

    source: Any = None
    url: Any = None
    scores: Any = None


_several = msgspec.json.Decoder(list[_Entry])
_LISTS: Final = ((True, "kept"), (False, "filtered_out"))


class _Item(msgspec.Struct, frozen=True, gc=False):
    """One piece of evidence."""

    source: str
    kept: bool
    score: float | None


def sources(trace_id: str, attempts: Iterable[Attempt], mend: Mending) -> Iterator[SourceRow]:
    """Give one row per source over all attempts; a URL that was judged more than once counts as it was judged last."""
    evidence = [attempt.evidence for attempt in attempts if isinstance(attempt.evidence, Mapping)]
    collected = _collected(evidence)
    judged = [(entry, kept) for part in evidence for kept, key in _LISTS for entry in _entries(part.get(key))]
    # Where no item says where it comes from, nobody knows how many of a counted source were kept.
    named = any(isinstance(entry.source, str) for entry, _ in judged)
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


def _entries(value: Any) -> list[_Entry]:
    """Read a list of evidence, which the document may still hold as encoded JSON."""
    if value is None:
        return []
    try:
        return _several.decode(value) if isinstance(value, msgspec.Raw) else msgspec.convert(value, list[_Entry])
    except msgspec.ValidationError:
        listed = opened(value)
        return [msgspec.convert(mapping(entry), _Entry) for entry in listed] if isinstance(listed, list) else []


def _unique(judged: Iterable[tuple[_Entry, bool]]) -> Iterable[_Item]:
    items: dict[object, _Item] = {}
    for entry, kept in judged:
        known = entry.url if isinstance(entry.url, str) else len(items)
        items[known] = _Item(_source(entry), kept, _score(mapping(entry.scores)))
    return items.values()


def _source(entry: _Entry) -> str:
    if isinstance(entry.source, str) and entry.source:
        return entry.source
    return (_host(entry.url) if isinstance(entry.url, str) else None) or "unknown"


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _score(scores: Mapping[str, Any]) -> float | None:
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
