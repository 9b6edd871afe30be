"""Make single values storable in SQLite and Postgres alike, and note what was changed. Pure."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ire_otel.row.columns import NAME_LENGTH

TEXT_LENGTH: Final = 500
"""Longest text of a decision (what, why) or feedback in a row, in characters; the document has all of it."""
CANONICAL_LENGTH: Final = len("2026-02-13T10:30:00.000000Z")
INT32: Final = range(-(2**31), 2**31)


class Mending:
    """Makes single values storable and notes what it changed."""

    def __init__(self) -> None:
        self.notes: dict[str, None] = {}

    def text(self, column: str, value: str | None, width: int | None = None) -> str | None:
        """Replace NUL, and cut to `width` characters."""
        if value is None:
            return None
        if "\0" in value:
            self.notes[f"{column}: NUL characters are U+FFFD in the row"] = None
            value = value.replace("\0", "\ufffd")
        if width is not None and len(value) > width:
            self.notes[f"{column}: cut from {len(value)} to {width} characters in the row"] = None
            value = value[:width]
        return value

    def excerpt(self, column: str, value: str | None) -> str | None:
        """Cut without a note: that a row holds excerpts only is no news."""
        if value is None or (len(value) <= TEXT_LENGTH and "\0" not in value):
            return value
        return self.text(column, value[:TEXT_LENGTH])

    def name(self, column: str, value: str | None) -> str | None:
        """Fit a name into a child table."""
        if value is None or (len(value) <= NAME_LENGTH and "\0" not in value):
            return value  # nearly all do
        return self.text(column, value, NAME_LENGTH)

    def path(self, column: str, value: str | None, width: int) -> str | None:
        """Keep a path whole or not at all: part of a path is the path of something else."""
        if value is not None and len(value) > width:
            self.notes[f"{column}: a path of {len(value)} characters is not in the row, {width} fit"] = None
            return None
        return self.text(column, value)

    def integer(self, column: str, value: object) -> int | None:
        """Keep what 32 bits hold."""
        number = self.number(column, value)
        if number is None:
            return None
        if int(number) not in INT32:
            self.notes[f"{column}: {value} is out of range, NULL in the row"] = None
            return None
        return int(number)

    def number(self, column: str, value: object) -> float | None:
        """Keep what a double holds."""
        if type(value) is float and math.isfinite(value):
            return value
        if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        self.notes[f"{column}: a number out of range is NULL in the row"] = None
        return None

    def texts(self, column: str, values: list[str] | None) -> list[str] | None:
        """Fit every text of a list."""
        return None if values is None else [self.text(column, value) or "" for value in values]

    def scores(self, column: str, values: dict[str, Any] | None) -> dict[str, Any] | None:
        """Fit the scores by principle; whole numbers stay whole."""
        if values is None:
            return None
        return {
            self.text(column, name) or "": score if self.number(column, score) is not None else None
            for name, score in values.items()
        }

    def time(self, column: str, value: str | None) -> str | None:
        """Give the time in UTC with microseconds, in the one form that sorts as text."""
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
            if len(value) == CANONICAL_LENGTH and value[10] + value[19] + value[26] == "T.Z":
                return value
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.notes[f"{column}: {value[:40]!r} is no ISO 8601 time, NULL in the row"] = None
            return None
        return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def opened(value: Any) -> Any:
    """Decode a value that the document still holds as encoded JSON."""
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def length(value: Any) -> int | None:
    """Count the entries of an array; None where it is none."""
    if isinstance(value, msgspec.Raw):
        try:
            return len(_array.decode(value))
        except msgspec.ValidationError:
            return None
    return len(value) if isinstance(value, list) else None


_array = msgspec.json.Decoder(list[msgspec.Raw])


def mapping(value: Any) -> dict[str, Any]:
    """Give `value` where it is an object, else an empty one."""
    if type(value) is dict:
        return value
    value = opened(value)
    return value if isinstance(value, dict) else {}


def fitters(row: type[msgspec.Struct]) -> dict[str, Callable[[Mending, Any], Any]]:
    """Give for each column of `row` the function that makes a value fit its declared type."""
    fields = msgspec.inspect.type_info(row).fields  # type: ignore[attr-defined] # type_info of a Struct is a StructType
    return {field.name: _fitter(field.name, field.type) for field in fields}


def _fitter(column: str, declared: msgspec.inspect.Type) -> Callable[[Mending, Any], Any]:
    title: object = None
    for kind in declared.types if isinstance(declared, msgspec.inspect.UnionType) else (declared,):
        inner = kind
        if isinstance(kind, msgspec.inspect.Metadata):
            title, inner = (kind.extra_json_schema or {}).get("title"), kind.type
        if isinstance(inner, msgspec.inspect.StrType):
            return _text_fitter(column, inner.max_length, title)
        if isinstance(inner, msgspec.inspect.IntType):
            return lambda mend, value: mend.integer(column, value)
        if isinstance(inner, msgspec.inspect.FloatType):
            return lambda mend, value: mend.number(column, value)
        if isinstance(inner, msgspec.inspect.BoolType):
            return lambda _, value: value if isinstance(value, bool) else None
        if isinstance(inner, msgspec.inspect.ListType):
            return lambda mend, value: mend.texts(column, value)
        if isinstance(inner, msgspec.inspect.DictType):
            return lambda mend, value: mend.scores(column, value)
    raise TypeError(f"column {column} has a type that no value can be made to fit: {declared}")


def _text_fitter(column: str, width: int | None, title: object) -> Callable[[Mending, Any], Any]:
    if title == "time":
        return lambda mend, value: mend.time(column, value)
    if title == "path" and width is not None:
        return lambda mend, value: mend.path(column, value, width)
    return lambda mend, value: mend.text(column, value, width)
