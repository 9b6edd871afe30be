"""How much of a run's content another exporter gets: all of it, previews, or none. Pure.

Content is what the pipeline's models and people wrote and read: queries, prompts, evidence, outputs, reasons. Names,
ids, scores, counts, times and confidences are not.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ire_otel import semconv, values
from ire_otel.records import Attributes, EventRecord, SpanRecord
from ire_otel.settings import Settings
from ire_otel.steps import Step

PREVIEW: Final = 200
"""Characters that a preview holds of a value, and from which on any text of an unknown span is content."""


def steps(chosen: Settings, exporter: str) -> tuple[Step, ...]:
    """Give the step that the settings ask for before an exporter: one, or for `full` none."""
    policy = chosen.content.get(exporter, "full")
    return {"full": (), "preview": (previewed,), "none": (without_content,)}[policy]


def previewed(record: SpanRecord) -> SpanRecord:
    """Cut content to previews; what was JSON still is, and of the same kind (object, list, string)."""
    return msgspec.structs.replace(
        record,
        status_description=record.status_description and _cut(record.status_description, PREVIEW),
        attributes=_previews(record.attributes),
        events=tuple(msgspec.structs.replace(event, attributes=_previews(event.attributes)) for event in record.events),
    )


def without_content(record: SpanRecord) -> SpanRecord:
    """Leave content out; what is left out counts as dropped."""
    attributes = _without(record.attributes)
    return msgspec.structs.replace(
        record,
        status_description=None,
        attributes=attributes,
        events=tuple(map(_event_without, record.events)),
        dropped_attributes=record.dropped_attributes + len(record.attributes) - len(attributes),
    )


def _event_without(event: EventRecord) -> EventRecord:
    attributes = _without(event.attributes)
    dropped = event.dropped_attributes + len(event.attributes) - len(attributes)
    return msgspec.structs.replace(event, attributes=attributes, dropped_attributes=dropped)


def _without(attributes: Attributes) -> Attributes:
    return {key: value for key, value in attributes.items() if not _is_content(key, value)}


def _previews(attributes: Attributes) -> Attributes:
    return {key: _preview(value) if _is_content(key, value) else value for key, value in attributes.items()}


_OWN_CONTENT: Final = frozenset(
    {
        semconv.RUN_QUERY,
        semconv.RUN_ERROR,
        semconv.RUN_OUTPUTS,
        semconv.STAGE_OUTPUTS,
        semconv.STAGE_EVIDENCE,
        semconv.STAGE_ERROR,
        semconv.DECISION_WHAT,
        semconv.DECISION_WHY,
        semconv.GIVEN_ALTERNATIVES,
        semconv.GIVEN_INPUTS,
        semconv.SCORE_EXPLANATION,
        semconv.ITERATION,
        semconv.WARNING,
    }
)
_FOREIGN_CONTENT: Final = re.compile(
    r"gen_ai\.((input|output)\.messages|system_instructions|prompt|completion|event\.content)"
    r"|gen_ai\.tool\.(call\.(arguments|result)|description|definitions)"
    r"|(input|output)\.value|llm\.(input_|output_|prompts|completions|prompt_template|tools|function_call|invocation)"
    r"|(retrieval|reranker|document|embedding|message|tool|traceloop\.entity)\."
    r"(.*\.)?(content|text|query|(input_|output_)?documents|input|output|parameters|arguments|description)"
    r"|db\.(query\.(text|parameter)|statement)|exception\.(message|stacktrace)|(content|body)$"
)
"""How the names of other instrumentations' content begin: GenAI conventions, OpenInference, OpenLLMetry, databases."""


def _is_content(key: str, value: Any) -> bool:
    if isinstance(value, bool | int | float):
        return False
    if key.startswith("ire.") or key == semconv.SCORE_EXPLANATION:
        return key in _OWN_CONTENT or key.startswith(semconv.STAGE_PROMPT_PREFIX)
    return _FOREIGN_CONTENT.match(key) is not None or _length(value) > PREVIEW


def _length(value: Any) -> int:
    """Give the length of all texts in a value."""
    if isinstance(value, Mapping):
        return sum(len(key) + _length(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return sum(map(_length, value))
    return len(value) if isinstance(value, str | bytes) else 0


def _preview(value: Any) -> Any:
    """Cut an attribute's value: inside JSON every string, list and object; a text at its end."""
    if not isinstance(value, str):
        return _Cutter(PREVIEW).cut(value)
    if len(value) <= PREVIEW:
        return value
    decoded = values.plain(values.decode(value))
    return values.dumps(_Cutter(PREVIEW).cut(decoded)) if decoded != value else _cut(value, PREVIEW)


class _Cutter:
    """Takes from the front of a value as much as there is room for; an item costs its characters, and one more."""

    def __init__(self, room: int) -> None:
        self._room = room

    def cut(self, value: Any) -> Any:
        if isinstance(value, str):
            cut = _cut(value, max(self._room, 1))
            self._room -= len(cut)
            return cut
        if isinstance(value, Mapping):
            return self._object(value)
        if isinstance(value, list | tuple):
            return self._list(value)
        self._room -= len(str(value))
        return value

    def _object(self, given: Mapping[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, item in given.items():
            if self._room <= 0:
                return kept | {"…": f"{len(given) - len(kept)} more"}
            self._room -= 1
            name = self.cut(key)
            kept[name] = self.cut(item)
        return kept

    def _list(self, given: list[Any] | tuple[Any, ...]) -> list[Any]:
        kept: list[Any] = []
        for item in given:
            if self._room <= 0:
                return [*kept, f"… {len(given) - len(kept)} more"]
            self._room -= 1
            kept.append(self.cut(item))
        return kept


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
