"""The same call seen by several instrumentors, or by several layers of one, is one call; its fields are united.

A call span inside another that began before that one ended is the same call. So are spans of different scopes with one
response id, and, of spans of different scopes that neither nest nor have an id in common, those that belong together
by time, model and tokens. Two calls have two response ids, and two spans of one scope side by side are two calls.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations
from typing import Any, Final

import msgspec

from ire_otel import semconv
from ire_otel.llm.calls import LlmCall, call_of
from ire_otel.llm.matching import matched
from ire_otel.llm.prices import price
from ire_otel.llm.vocabulary import is_work, kind_of
from ire_otel.records import SpanRecord

SpanKey = tuple[str, str]
_FOREVER: Final = 2**63
_DATE: Final = re.compile(r"[-@:](?:v?[0-9]{3,}.*|latest)$")
"""What tells a model's versions apart: `-2024-08-06`, `-20251001`, `@20240620`, `-002`, `-latest`."""

_UNITED: Final = (
    *("provider", "request_model", "response_model", "response_id", "stage_span_id", "error"),
    *("input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("cache_write_1h_tokens", "reasoning_tokens"),
)
"""Fields that the merged call takes from the first of its views that knows them."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One span as a call; times in microseconds, so that a trace read back from where that is all is the same."""

    key: SpanKey
    call: LlmCall
    scope: str
    start: int
    end: int
    """A span that never ended goes on for ever."""
    above: tuple[SpanKey, ...]
    """All spans that this one is inside of, the nearest first."""
    reach: int
    """How many of those lie below the nearest agent, tool, workflow, stage or run."""


Group = list[View]
Edge = tuple[tuple[object, ...], int, int]
"""How strong it is (less is stronger), and the positions of two views."""


def model_calls(
    spans: Sequence[SpanRecord],
    by_key: Mapping[SpanKey, SpanRecord],
    stage_of: Callable[[SpanRecord], str | None] = lambda _: None,
) -> list[LlmCall]:
    """Give the calls that spans stand for, each once, by start. The order of the spans does not matter.

    `by_key` holds every span known, by trace id and span id: ancestors are looked up there. `stage_of` gives the span
    id of the stage that a span ran in.
    """
    views = sorted(_views(spans, by_key, stage_of), key=_by_start)
    found: list[tuple[int, SpanKey, LlmCall]] = []
    for kind in ("call", "embedding", "retrieval"):
        for group in _groups([view for view in views if view.call.kind == kind]):
            first = min(group, key=_by_start)
            found.append((first.start, first.key, _united(group)))
    calls = [call for _, _, call in sorted(found, key=lambda entry: entry[:2])]
    return [msgspec.structs.replace(call, cost_usd=price(call)) for call in calls]


def _by_start(view: View) -> tuple[int, SpanKey]:
    return view.start, view.key


def _views(
    spans: Iterable[SpanRecord], by_key: Mapping[SpanKey, SpanRecord], stage_of: Callable[[SpanRecord], str | None]
) -> Iterator[View]:
    for span in spans:
        kind = kind_of(span.name, span.attributes)
        if kind is None:
            continue
        above = _above(span, by_key)
        walls = (number for number, key in enumerate(above) if _is_wall(by_key[key]))
        yield View(
            key=(span.trace_id, span.span_id),
            call=call_of(span, kind, stage_of(span)),
            scope=span.scope_name or "",
            start=span.start_ns // 1000,
            end=_FOREVER if span.end_ns is None else span.end_ns // 1000,
            above=above,
            reach=next(walls, len(above)),
        )


def _above(span: SpanRecord, by_key: Mapping[SpanKey, SpanRecord]) -> tuple[SpanKey, ...]:
    path = {(span.trace_id, span.span_id): None}
    key = (span.trace_id, span.parent_span_id or "")
    while key in by_key and key not in path:
        path[key] = None
        key = (key[0], by_key[key].parent_span_id or "")
    return tuple(path)[1:]


def _is_wall(span: SpanRecord) -> bool:
    """Whether a call below this span is another than one above it: it begins work of its own."""
    return (
        semconv.STAGE_NAME in span.attributes
        or semconv.SCHEMA in span.attributes
        or is_work(span.name, span.attributes)
    )


def _groups(views: Sequence[View]) -> list[Group]:
    """Put the views of each call together: along what is certain first, then side by side."""
    group_of = [[number] for number in range(len(views))]
    for _, one, other in sorted([*_nested(views), *_of_one_id(views)]):
        left, right = group_of[one], group_of[other]
        if left is not right and _may_be_one([views[number] for number in left], [views[number] for number in right]):
            left += right
            for number in right:
                group_of[number] = left
    groups = [[views[number] for number in group] for group in {id(group): group for group in group_of}.values()]
    seen = Counter(view.scope for view in views)
    # Scopes that saw most come first: one with a few spans must not take the partners of another's.
    pairs = sorted(combinations(sorted(seen), 2), key=lambda pair: -sum(seen[scope] for scope in pair))
    for equal_tokens in (True, False):
        for scopes in pairs:
            groups = _side_by_side(groups, scopes, equal_tokens=equal_tokens)
    return groups


def _nested(views: Sequence[View]) -> Iterator[Edge]:
    """Give an edge from each view to every one that it is inside of and that had not ended when it began."""
    position = {view.key: number for number, view in enumerate(views)}
    for number, inner in enumerate(views):
        for depth, key in enumerate(inner.above[: inner.reach]):
            outer = views[position[key]] if key in position else None
            if outer is not None and _overlap(outer, inner):
                rank = 0 if _same_id(outer, inner) else 2 if _same_tokens(outer.call, inner.call) else 3
                yield (rank, 0.0, depth, inner.start, inner.key), position[key], number


def _of_one_id(views: Sequence[View]) -> Iterator[Edge]:
    """Give an edge between views of different scopes that have a response id in common.

    Where an id comes more than once in a scope, it names nothing for certain: then they must overlap in time, too.
    """
    by_id: dict[str, list[int]] = {}
    for number, view in enumerate(views):
        if view.call.response_id is not None:
            by_id.setdefault(view.call.response_id, []).append(number)
    for numbers in by_id.values():
        scopes = [views[number].scope for number in numbers]
        certain = len(set(scopes)) == len(scopes)
        for one, other in combinations(numbers, 2):
            left, right = views[one], views[other]
            if left.scope != right.scope and (certain or _overlap(left, right)):
                yield (1, -_closeness(left, right), 0, right.start, (left.key, right.key)), one, other


def _may_be_one(left: Group, right: Group) -> bool:
    """Whether nothing speaks against two groups being one call."""
    return not _two_ids(left, right) and all(
        (one.scope != other.scope or _related(one, other)) and _at_one_time(one, left, other, right)
        for one in left
        for other in right
    )


def _two_ids(left: Group, right: Group) -> bool:
    return len({view.call.response_id for view in (*left, *right)} - {None}) > 1


def _at_one_time(one: View, left: Group, other: View, right: Group) -> bool:
    """Whether two views overlap, be it through another of their group that has their id; one id needs no overlap."""
    return _same_id(one, other) or any(
        _overlap(here, there)
        for here in left
        if here is one or _same_id(here, one)
        for there in right
        if there is other or _same_id(there, other)
    )


def _side_by_side(groups: list[Group], scopes: tuple[str, ...], *, equal_tokens: bool) -> list[Group]:
    """Match groups that only one of two scopes saw with those that only the other saw, one to one."""
    sides: tuple[list[_Candidate], list[_Candidate]] = ([], [])
    for number, group in enumerate(groups):
        saw = [scope in {view.scope for view in group} for scope in scopes]
        if saw[0] != saw[1]:
            sides[saw[1]].append(_candidate(number, group))
    pairs = _pairs(*sides, equal_tokens=equal_tokens)
    edges = sorted((-_closeness_of(one.group, other.group), one.number, other.number) for one, other in pairs)
    united = dict(matched((one, other) for _, one, other in edges))
    taken = set(united.values())
    return [
        [*group, *(groups[united[number]] if number in united else ())]
        for number, group in enumerate(groups)
        if number not in taken
    ]


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A group that may be matched with one that another scope saw; what the comparison needs is worked out once."""

    number: int
    group: Group
    scopes: frozenset[str]
    start: int
    end: int
    stage: str | None
    models: frozenset[str]
    tokens: tuple[int | None, int | None] | None
    """None where either is unknown."""
    failed: bool


def _candidate(number: int, group: Group) -> _Candidate:
    call = _united(group)
    return _Candidate(
        number=number,
        group=group,
        scopes=frozenset(view.scope for view in group),
        start=min(view.start for view in group),
        end=max(view.end for view in group),
        stage=call.stage_span_id,
        models=frozenset(_undated(name) for name in (call.request_model, call.response_model) if name),
        tokens=(call.input_tokens, call.output_tokens) if call.usage_known else None,
        failed=call.error is not None,
    )


def _pairs(
    left: Sequence[_Candidate], right: Sequence[_Candidate], *, equal_tokens: bool
) -> Iterator[tuple[_Candidate, _Candidate]]:
    """Give the pairs that may be one call: of one stage, model and time, with equal tokens or with unknown ones."""
    by_stage: dict[str | None, dict[object, list[_Candidate]]] = {}
    for other in sorted(right, key=lambda candidate: candidate.start):
        by_stage.setdefault(other.stage, {}).setdefault(other.tokens, []).append(other)
    for one in left:
        by_tokens = by_stage.get(one.stage, {})
        near: Iterable[_Candidate]
        if equal_tokens:
            near = [] if one.tokens is None else by_tokens.get(one.tokens, [])
        else:
            near = by_tokens.get(None, []) if one.tokens is not None else chain.from_iterable(by_tokens.values())
        for other in near:
            if other.start <= one.end and one.start <= other.end and _may_be_seen_twice(one, other):
                yield one, other


def _may_be_seen_twice(one: _Candidate, other: _Candidate) -> bool:
    return (
        not one.models.isdisjoint(other.models)
        and one.scopes.isdisjoint(other.scopes)
        # Of unknown tokens, a failed call and one that succeeded are two tries.
        and (one.failed == other.failed or (one.tokens is not None and other.tokens is not None))
        and not _two_ids(one.group, other.group)
        and not any(_related(left, right) for left in one.group for right in other.group)
        and any(_overlap(left, right) for left in one.group for right in other.group)
    )


def _closeness_of(one: Group, other: Group) -> float:
    return max(_closeness(left, right) for left in one for right in other)


def _united(group: Group) -> LlmCall:
    """Unite the views of one call; the innermost, which is nearest to the provider, is asked first."""
    keys = {view.key for view in group}
    inside_first = sorted(group, key=lambda view: (-len(keys.intersection(view.above)), -view.start, view.key))
    calls = [view.call for view in inside_first]
    known = {name: _first(getattr(call, name) for call in calls) for name in _UNITED}
    if known["input_tokens"] is not None and known["output_tokens"] is not None:
        known["total_tokens"] = known["input_tokens"] + known["output_tokens"]
    ends = [call.end_ns for call in calls if call.end_ns is not None]
    prompts = [call.prompts for call in calls]
    return LlmCall(
        kind=calls[0].kind,
        start_ns=min(call.start_ns for call in calls),
        end_ns=max(ends, default=None),
        streamed=any(call.streamed for call in calls),
        prompts=max(prompts, key=len),
        scopes=tuple(sorted({view.scope for view in group})),
        **known,
    )


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _overlap(one: View, other: View) -> bool:
    return one.start == other.start or (one.start < other.end and other.start < one.end)


def _closeness(one: View, other: View) -> float:
    """Give the share of the time of both that is common to them, above 0 where they overlap."""
    if not _overlap(one, other):
        return 0.0
    shared = min(one.end, other.end) - max(one.start, other.start)
    return (shared + 1) / (max(one.end, other.end) - min(one.start, other.start) + 1)


def _related(one: View, other: View) -> bool:
    return one.key in other.above or other.key in one.above


def _same_id(one: View, other: View) -> bool:
    return one.call.response_id is not None and one.call.response_id == other.call.response_id


def _same_tokens(one: LlmCall, other: LlmCall) -> bool:
    return one.usage_known and (one.input_tokens, one.output_tokens) == (other.input_tokens, other.output_tokens)


def _undated(model: str) -> str:
    """Give what `openai/gpt-4o` and `gpt-4o-2024-08-06` have in common."""
    return _DATE.sub("", model.lower().rpartition("/")[2])
