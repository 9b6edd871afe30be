"""Take secrets out of SpanRecords, before anything is assembled, written or sent. Pure."""

import functools
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ire_otel import patterns, values
from ire_otel.records import Attributes, SpanRecord
from ire_otel.redaction.kinds import KINDS, MARK, STRONG_NAMES, TOKENS, WEAK_NAMES, is_long_secret, is_secret
from ire_otel.settings import Settings
from ire_otel.steps import Step


def steps(chosen: Settings) -> tuple[Step, ...]:
    """Give the step that the settings ask for: one, or with `redact = false` none."""
    return (Redactor(chosen.redact_patterns),) if chosen.redact else ()


class Redactor:
    """A step that replaces every secret by a mark that says its kind: `[redacted:openai-key]`.

    Everything that a record holds is looked at: values (lists and maps of foreign spans too), the names of attributes,
    spans, events, the status, the resource. A record without secrets is given back as it is.
    """

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        """own: more patterns, by the kind that their marks name. Raises ValueError for one that RE2 does not take."""
        self._own = {MARK.format(name): pattern for name, pattern in (own or {}).items()}
        for pattern in self._own.values():
            patterns.compiled(pattern)

    def __call__(self, record: SpanRecord) -> SpanRecord:
        """Give the record without its secrets."""
        if not self._own and _built_in().search("\0".join(_texts_of(record))) is None:
            return record
        clean = msgspec.structs.replace(
            record,
            name=self.text(record.name),
            status_description=record.status_description and self.text(record.status_description),
            attributes=self._attributes(record.attributes),
            events=tuple(
                msgspec.structs.replace(
                    event, name=self.text(event.name), attributes=self._attributes(event.attributes)
                )
                for event in record.events
            ),
            links=tuple(
                msgspec.structs.replace(link, attributes=self._attributes(link.attributes)) for link in record.links
            ),
            resource=self._attributes(record.resource),
        )
        return record if clean == record else clean

    def text(self, text: str) -> str:
        """Give a text without its secrets; what was JSON still is."""
        for mark, pattern in self._own.items():
            text = _own_pattern(text, mark, patterns.compiled(pattern))
        clean: str = _built_in().sub(_marked, text)
        # Once more: a secret may begin right where another ended, which then does not count as a place to begin.
        return clean if clean == text else str(_built_in().sub(_marked, clean))

    def _attributes(self, attributes: Attributes) -> Attributes:
        return {self.text(key): self._value(value, key) for key, value in attributes.items()}

    def _value(self, value: Any, key: str = "") -> Any:
        if isinstance(value, str):
            return MARK.format("secret") if _is_named_a_secret(key, value) else self.text(value)
        if isinstance(value, Mapping):
            return self._attributes(value)
        if isinstance(value, list | tuple):
            return [self._value(item, key) for item in value]
        if isinstance(value, bytes):
            return self.text(value.decode("latin-1")).encode("latin-1")
        return value


def _texts_of(record: SpanRecord) -> list[str]:
    """Give every text of a record in which there may be a secret."""
    texts = [record.name, record.status_description or ""]
    _add_texts(record.attributes, texts)
    _add_texts(record.resource, texts)
    for event in record.events:
        texts.append(event.name)
        _add_texts(event.attributes, texts)
    for link in record.links:
        _add_texts(link.attributes, texts)
    return texts


def _add_texts(attributes: Attributes, texts: list[str]) -> None:
    if not _harmless.issuperset(attributes):
        for name in attributes:
            if _says_something(name):
                texts.append(
                    f'{name}":"'
                )  # as in JSON before a value, so that what finds secrets by names there does so
            elif len(_harmless) < _MOST_NAMES:
                _harmless.add(name)
    for value in attributes.values():
        if type(value) is str:  # most are, or numbers: nothing else is asked of them
            texts.append(value)
        elif type(value) not in _NUMBERS:
            _add_texts_in(value, texts)


_harmless: set[str] = set()
"""Names of attributes that say nothing of their values, and hold no secret: the same few again and again."""
_MOST_NAMES: Final = 4096


def _says_something(name: str) -> bool:
    return _name_counts(name) is not None or _built_in().search(name) is not None


def _add_texts_in(value: Any, texts: list[str]) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, Mapping):
        _add_texts(value, texts)
    elif isinstance(value, list | tuple):
        for item in value:
            _add_texts_in(item, texts)
    elif isinstance(value, bytes):
        texts.append(value.decode("latin-1"))


_NUMBERS: Final = frozenset({int, float, bool, type(None)})


def _built_in() -> Any:
    return patterns.compiled(_BUILT_IN)


_BUILT_IN: Final = "|".join(kind.pattern for kind in KINDS)
_ALL_TOKENS: Final = "|".join(kind.pattern for kind in TOKENS)
_STRONG: Final = rf"(?:{STRONG_NAMES}|(?i:secret))$"
_WEAK: Final = rf"{WEAK_NAMES}$"


def _marked(match: Any) -> str:
    """Give what stands in the place of a match: all of it but the secret, and there the mark."""
    kind, secret = KINDS[match.lastindex - 1], match[match.lastindex]
    start, end = (offset - match.start() for offset in match.span(match.lastindex))
    whole = match[0]
    if kind.counts is None or kind.counts(secret):
        left = MARK.format(_name(kind.name, secret))
    else:
        left = _built_in().sub(_marked, secret)  # no secret by its name, but it may hold one
    return f"{whole[:start]}{left}{whole[end:]}"


def _name(name: str, secret: str) -> str:
    """Give a secret's kind: by what it looks like, where that says more than the name that it was found by."""
    if name not in _FOUND_BY_NAME:
        return name
    match = patterns.compiled(_ALL_TOKENS).search(secret)
    return name if match is None else TOKENS[match.lastindex - 1].name


_FOUND_BY_NAME: Final = ("secret", "authorization")


@functools.lru_cache(maxsize=4096)
def _name_counts(key: str) -> Any:
    """Give what tells whether the value of an attribute of that name is a secret; None: the name says nothing."""
    if patterns.compiled(_STRONG).search(key):
        return is_secret
    return is_long_secret if patterns.compiled(_WEAK).search(key) else None


def _is_named_a_secret(key: str, value: str) -> bool:
    counts = _name_counts(key)
    return counts is not None and value[:1] not in {"{", "["} and counts(value)


def _own_pattern(text: str, mark: str, pattern: Any) -> str:
    """Apply a user's pattern: to a text, or where that is JSON to each string in it, as the pipeline knew them."""
    if text[:1] not in _JSON_STARTS or (decoded := _decoded(text)) is None:
        return _replaced(text, mark, pattern)
    clean = _in_strings(decoded, mark, pattern)
    return text if clean == decoded else json.dumps(clean, ensure_ascii=False, separators=(",", ":"))


_JSON_STARTS: Final = frozenset({"[", "{", '"'})


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _in_strings(value: Any, mark: str, pattern: Any) -> Any:
    if isinstance(value, str):
        return _own_pattern(values.well_formed(value), mark, pattern)
    if isinstance(value, dict):
        return {_in_strings(key, mark, pattern): _in_strings(item, mark, pattern) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_strings(item, mark, pattern) for item in value]
    return value


def _replaced(text: str, mark: str, pattern: Any) -> str:
    return str(pattern.sub(lambda match: mark if match[0] else "", text))
