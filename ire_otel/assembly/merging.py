"""Merge partial copies of a span into one: the result depends on the set of copies, not on their order or number."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import msgspec

from ire_otel import semconv
from ire_otel.records import Attributes, EventRecord, SpanRecord


def merge(copies: Iterable[SpanRecord]) -> list[SpanRecord]:
    """Give one record per (trace_id, span_id), ordered by those.

    A copy that ended beats an open one. Events that carry `ire.seq` are united; others come from the copy that has most
    of them. Attributes are united, the more complete copy winning.
    """
    groups: dict[tuple[str, str], list[SpanRecord]] = {}
    for copy in copies:
        groups.setdefault((copy.trace_id, copy.span_id), []).append(copy)
    return [group[0] if len(group) == 1 else _united(_ranked(group)) for _, group in sorted(groups.items())]


def sequence(attributes: Attributes) -> int | None:
    """Give the event's number in its process; None for events that ire-otel did not record."""
    number = attributes.get(semconv.SEQ)
    return number if type(number) is int else None


def _united(ranked: list[SpanRecord]) -> SpanRecord:
    winner = ranked[-1]
    attributes: dict[str, Any] = {}
    resource: dict[str, Any] = {}
    for copy in ranked:
        attributes.update(copy.attributes)
        resource.update(copy.resource)
    parents = [copy.parent_span_id for copy in ranked if copy.parent_span_id is not None]
    return msgspec.structs.replace(
        winner,
        parent_span_id=parents[-1] if parents else None,
        attributes=attributes,
        events=_united_events(ranked, attributes.get(semconv.PROCESS)),
        links=max((copy.links for copy in reversed(ranked)), key=len),
        resource=resource,
    )


def _united_events(ranked: list[SpanRecord], span_process: Any) -> tuple[EventRecord, ...]:
    sequenced: dict[tuple[str, int], EventRecord] = {}
    others: list[EventRecord] = []
    for copy in ranked:
        unnumbered = []
        for event in copy.events:
            seq = sequence(event.attributes)
            if seq is None:
                unnumbered.append(event)
            else:
                sequenced[str(event.attributes.get(semconv.PROCESS, span_process)), seq] = event
        if len(unnumbered) >= len(others):
            others = unnumbered
    return tuple(sorted([*others, *sequenced.values()], key=lambda event: event.time_ns))


def _ranked(copies: list[SpanRecord]) -> list[SpanRecord]:
    """Order copies from the least to the most complete; only ties cost a look at the content."""
    ranked: list[SpanRecord] = []
    for _, tied in groupby(sorted(copies, key=_completeness), key=_completeness):
        equals = list(tied)
        ranked += equals if len(equals) == 1 else sorted(equals, key=_canonical)
    return ranked


def _completeness(copy: SpanRecord) -> tuple[bool, int, int, int, int]:
    highest = max((sequence(event.attributes) or 0 for event in copy.events), default=0)
    return copy.end_ns is not None, copy.end_ns or 0, highest, len(copy.events), len(copy.attributes)


def _canonical(copy: SpanRecord) -> str:
    events = [(event.name, event.time_ns, _sorted(event.attributes), event.dropped_attributes) for event in copy.events]
    links = [(link.trace_id, link.span_id, _sorted(link.attributes)) for link in copy.links]
    rest = msgspec.structs.replace(copy, attributes={}, resource={}, events=(), links=())
    return repr((rest, _sorted(copy.attributes), _sorted(copy.resource), events, links))


def _sorted(attributes: Attributes) -> list[tuple[str, Any]]:
    return sorted(attributes.items())
