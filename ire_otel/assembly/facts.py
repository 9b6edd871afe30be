"""What a stage attempt is known by besides its times and decisions: outputs, evidence, prompts, model, usage, cost."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from ire_otel import semconv, values
from ire_otel.assembly.attributes import Members, integer, items, members, parsed, real, text
from ire_otel.model import TokenUsage
from ire_otel.records import Attributes

T = TypeVar("T")

RAW_TEXT: Final = "raw"
"""Where the text of an object stands that a length limit cut on its way, so that it is no JSON any more."""

_USAGE: Final = {
    "input_tokens": semconv.STAGE_INPUT_TOKENS,
    "output_tokens": semconv.STAGE_OUTPUT_TOKENS,
    "total_tokens": semconv.STAGE_TOTAL_TOKENS,
}
_NOTHING: Final = (None, msgspec.Raw(b"null"))


class _Sourced(msgspec.Struct, frozen=True, gc=False):
    """An item of evidence, as far as counting needs it."""

    source: Any = None


_sourced = msgspec.json.Decoder(list[_Sourced])


def json_object(value: Any) -> dict[str, Any] | None:
    """Give a recorded JSON object, one level deep; what is none (any more) is kept under `raw`."""
    found: dict[str, Any] | None = members(value)
    if found is not None or value is None:
        return found
    return {RAW_TEXT: values.decode(value)}


def stage_fields(attributes: Attributes, outputs: Members) -> dict[str, Any]:
    """Give the fields of an Attempt that attributes and outputs say, typed attributes before outputs."""
    evidence = _evidence(attributes, outputs)
    prompts = _prompts(attributes)
    usage = _token_usage(attributes, outputs)
    model = text(attributes.get(semconv.STAGE_MODEL)) or _word(parsed(outputs.get("model")))
    cost = real(attributes.get(semconv.STAGE_COST_USD))
    if cost is None:
        cost = real(parsed(outputs.get("cost_usd")))
    fields = {
        "component": text(attributes.get(semconv.STAGE_COMPONENT)),
        "model": model,
        "token_usage": usage,
        "cost_usd": cost,
        "evidence": evidence,
        "prompts": prompts or None,
    }
    recorded = values.decode(attributes.get(semconv.STAGE_OUTPUTS))
    if recorded is not None:
        fields["outputs"] = recorded
    return {name: value for name, value in fields.items() if value is not None}


def _prompts(attributes: Attributes) -> dict[str, Any]:
    prefix = semconv.STAGE_PROMPT_PREFIX
    names = sorted(name for name in attributes if name.startswith(prefix))
    return {name.removeprefix(prefix): values.decode(attributes[name]) for name in names}


def _token_usage(attributes: Attributes, outputs: Members) -> TokenUsage | None:
    reported = members(outputs.get("token_usage")) or {}
    usage: dict[str, Any] = {
        name: _first(integer, attributes.get(attribute), parsed(reported.get(name)))
        for name, attribute in _USAGE.items()
    }
    given, made = usage["input_tokens"], usage["output_tokens"]
    if usage["total_tokens"] is None and given is not None and made is not None:
        usage["total_tokens"] = given + made
    return None if all(tokens is None for tokens in usage.values()) else TokenUsage(**usage)


def _evidence(attributes: Attributes, outputs: Members) -> dict[str, Any] | None:
    """Give the evidence as recorded, with the counts and sources filled in that it leaves to be counted."""
    evidence = json_object(attributes.get(semconv.STAGE_EVIDENCE)) or {}
    kept, filtered = _sources(evidence.get("kept")), _sources(evidence.get("filtered_out"))
    kept_count = _count(kept, attributes.get(semconv.EVIDENCE_KEPT), outputs.get("evidence_passed"))
    filtered_count = _count(filtered, attributes.get(semconv.EVIDENCE_FILTERED), outputs.get("evidence_filtered"))
    collected = integer(attributes.get(semconv.EVIDENCE_COLLECTED))
    if collected is None and (kept_count is not None or filtered_count is not None):
        collected = (kept_count or 0) + (filtered_count or 0)
    counted = {
        "collected_count": collected,
        "kept_count": kept_count if kept is None else None,
        "filtered_count": filtered_count if filtered is None else None,
        "by_source": dict(sorted(Counter(filter(_word, [*(kept or ()), *(filtered or ())])).items())) or None,
    }
    missing = {name: value for name, value in counted.items() if value is not None and evidence.get(name) in _NOTHING}
    return {**evidence, **missing} or None


def _count(listed: Sequence[Any] | None, typed: Any, reported: Any) -> int | None:
    return len(listed) if listed is not None else _first(integer, typed, parsed(reported))


def _sources(value: Any) -> list[Any] | None:
    """Give the source of each item of a list, None for an item without one; None if it is no list."""
    if value is None:
        return None
    try:
        return [item.source for item in _sourced.decode(msgspec.json.encode(value))]
    except msgspec.MsgspecError:
        listed = items(value)
        return listed and [None] * len(listed)


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _first(read: Callable[[Any], T | None], *candidates: Any) -> T | None:
    return next((found for found in map(read, candidates) if found is not None), None)
