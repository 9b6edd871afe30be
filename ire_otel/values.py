"""Any Python value to an OpenTelemetry attribute value, and back. Pure.

Scalars stay scalars. Everything else becomes compact JSON in a string; so that the two can be told apart, a *string*
that itself starts with `[`, `{` or `"` is JSON-encoded too. A reader decodes only values that start so.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

import msgspec
import orjson

Scalar = str | int | float | bool

INT64: Final = range(-(2**63), 2**63)
REPR_LENGTH: Final = 2_000
"""Longest `repr` kept of an object that has no JSON form, in characters."""
DEPTH: Final = 100
"""Deepest nesting kept; what lies deeper (or is circular) becomes a marker."""

JSON_STARTS: Final = frozenset('[{"')
"""How the attribute values begin that hold JSON."""
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_SERIALIZE_NUMPY
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

_raw = msgspec.json.Decoder(msgspec.Raw)


def attribute(value: object) -> Scalar | None:
    """Give the attribute value for `value`; None means that the attribute is left out.

    Strings may still hold lone surrogates: whoever encodes finds out for nothing, and mends them with `well_formed`.
    """
    kind = type(value)
    if kind is str:
        return dumps(value) if value[:1] in JSON_STARTS else value  # type: ignore[index, return-value] # a str
    if kind is bool or value is None:
        return value  # type: ignore[return-value] # a bool or None
    if kind is int:
        return value if value in INT64 else _digits(value)  # type: ignore[arg-type, return-value] # an int
    if kind is float:
        return value if math.isfinite(value) else None  # type: ignore[arg-type, return-value] # a float
    if isinstance(value, str):
        return attribute(str.__str__(value))
    encoded = dumps(value)
    if encoded[0] in "[{":
        return encoded
    return attribute(orjson.loads(encoded))


def dumps(value: object) -> str:
    """Encode any value as compact JSON. Never fails: what has no JSON form becomes its `repr` with a marker."""
    try:
        return orjson.dumps(value, _json_form, _OPTIONS).decode()
    except TypeError:
        # A surrogate, an integer beyond 64 bits, a key that is no string, a cycle: rare, so only now the slow way.
        return orjson.dumps(_plain_json(value, DEPTH)).decode()


def shown(value: object) -> str:
    """Give a value as a message shows it: its repr, cut, whatever that raises."""
    return f"{_representation(value)['$repr']:.200}"


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:
        return hex(number)  # Python refuses to spell out thousands of decimal digits


def well_formed(text: str) -> str:
    """Replace lone surrogates, which UTF-8 (and so OTLP, JSON and both databases) cannot hold, by U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def decode(value: Any) -> Any:
    """Undo `attribute`: JSON containers come back as `msgspec.Raw`, JSON strings as str, all else as it is.

    Text that only looks like JSON (cut by a length limit on its way, or never encoded by us) stays text.
    """
    if type(value) is not str or value[:1] not in JSON_STARTS:
        return value
    try:
        return msgspec.json.decode(value) if value[0] == '"' else _raw.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return value


def plain(value: Any) -> Any:
    """Decode every `msgspec.Raw` inside `value` to Python objects."""
    if isinstance(value, msgspec.Raw):
        return _decoded(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _decoded(fragment: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(fragment)
    except msgspec.ValidationError:
        return json.loads(bytes(fragment))  # a number beyond a float's range: infinity, rather than an error


def _json_form(value: object) -> object:
    """Give something that orjson can encode for a value that it cannot (its `default`)."""
    for kinds, form in _FORMS:
        if isinstance(value, kinds):
            return form(value)
    for method in ("model_dump", "tolist", "_asdict"):
        convert = getattr(type(value), method, None)
        if convert is not None:
            return _guarded(value, convert)
    attrs_fields: Any = getattr(type(value), "__attrs_attrs__", None)
    if attrs_fields is not None:
        return {field.name: getattr(value, field.name, None) for field in attrs_fields}
    return _representation(value)


def _guarded(value: object, convert: Callable[[Any], object]) -> object:
    try:
        return convert(value)
    except Exception:  # noqa: BLE001 # somebody else's method; whatever it raises, the record goes on
        return _representation(value)


def _representation(value: object) -> dict[str, str]:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 # a broken __repr__ must not break the record
        text = f"<{kind} whose repr raised {type(error).__name__}>"
    return {"$type": kind, "$repr": well_formed(text[:REPR_LENGTH])}


def _utc(moment: datetime) -> str:
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat().replace("+00:00", "Z")


def _sorted(values: AbstractSet[object]) -> list[object]:
    try:
        return sorted(values)  # type: ignore[type-var] # mixed kinds raise TypeError, and are then sorted as JSON
    except TypeError:
        return sorted(values, key=dumps)


_FORMS: Final[tuple[tuple[Any, Callable[[Any], object]], ...]] = (
    (datetime, _utc),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, timedelta.total_seconds),
    ((Decimal, UUID, PurePath), str),
    (Enum, lambda value: value.value),
    (AbstractSet, _sorted),
    (Mapping, dict),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    (msgspec.Struct, msgspec.structs.asdict),
    (msgspec.Raw, msgspec.json.decode),
)


def _plain_json(value: object, depth: int) -> Any:
    """Rebuild `value` from what every JSON encoder takes; containers are walked, the rest goes through `_json_form`."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return well_formed(str.__str__(value))
    if isinstance(value, int):
        return int(value) if value in INT64 else _digits(int(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth == 0:
        return _representation(value)
    if isinstance(value, dict):
        return {_key(key): _plain_json(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
        return [_plain_json(item, depth - 1) for item in value]
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {name: _plain_json(getattr(value, name, None), depth - 1) for name in fields}
    return _plain_json(_json_form(value), depth - 1)


def _key(key: object) -> str:
    if isinstance(key, str):
        return well_formed(str.__str__(key))
    encoded = _plain_json(key, 1)
    return encoded if isinstance(encoded, str) else orjson.dumps(encoded).decode()
