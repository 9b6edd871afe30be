"""Read an attribute value as what a field of the document holds; a value of another kind counts as absent (None)."""

import math
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from ire_otel import values
from ire_otel.model import Number

_EXACT: Final = 2**53
"""Up to here every integral float is exactly one integer."""

_CONTAINERS: Final = frozenset("[{")

T = TypeVar("T")

Members = Mapping[str, msgspec.Raw]
"""A JSON object, decoded one level deep."""


def text(value: Any) -> str | None:
    """Give text as it is and anything else in its JSON form."""
    if value is None or (type(value) is str and value[:1] not in values.JSON_STARTS):
        return value  # nearly all is
    decoded = values.decode(value)
    if decoded is None or type(decoded) is str:
        return decoded
    encoded = bytes(decoded).decode() if isinstance(decoded, msgspec.Raw) else values.dumps(decoded)
    # A fragment of an array may be a string itself; bytes become one, and NaN becomes null.
    return msgspec.json.decode(encoded, type=str | None) if encoded[0] in '"n' else encoded


def flag(value: Any) -> bool | None:
    """Give a bool, never one guessed from a number or a word."""
    return value if isinstance(value, bool) else None


def integer(value: Any) -> int | None:
    """Give a whole number; a float only where it is one exactly."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value
    return int(value) if value.is_integer() and abs(value) <= _EXACT else None


def real(value: Any) -> float | None:
    """Give a finite float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def number(value: Any) -> Number | None:
    """Give a finite number, as an int where it is whole."""
    whole = integer(value)
    return real(value) if whole is None else whole


def members(value: Any) -> dict[str, msgspec.Raw] | None:
    """Decode a JSON object one level deep: its values stay the fragments that were recorded."""
    return _shallow(value, _object)


def items(value: Any) -> list[msgspec.Raw] | None:
    """Decode a JSON array one level deep."""
    return _shallow(value, _array)


def parsed(fragment: Any) -> Any:
    """Decode an attribute value, or a fragment of one, all the way down."""
    if fragment is None:
        return None
    try:
        return values.plain(values.decode(fragment))
    except (msgspec.MsgspecError, RecursionError):
        # A number that no float holds, or nesting beyond any use.
        return None


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


def _shallow(value: Any, decoder: msgspec.json.Decoder[T]) -> T | None:
    if isinstance(value, list | dict):
        value = msgspec.json.encode(value)
    elif not isinstance(value, msgspec.Raw) and (type(value) is not str or value[:1] not in _CONTAINERS):
        return None
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
