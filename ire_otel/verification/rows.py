"""Where the rows that a trace file asks for and those in the database differ. Pure."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ire_otel import values
from ire_otel.db.stored import KEYS, TABLES
from ire_otel.row import Row

_ADDRESS: Final = "jaeger_url"
SHOWN: Final = 100
"""Characters of a value that are shown, from where two values begin to differ."""


def differing(made: Row, stored: Row) -> Iterator[tuple[str, str]]:
    """Give each column in which the rows made from a file differ from the stored ones, and what each says."""
    yield from _columns(made.run, stored.run)
    for field, table in TABLES.items():
        own, found = _by_key(getattr(made, field), field), _by_key(getattr(stored, field), field)
        if len(own) != len(found):
            yield table, contrast(len(own), len(found), "rows")
            continue
        for key in own | found:
            where = f"{table} {' '.join(map(str, key))}"
            if key not in own or key not in found:
                yield where, contrast(_presence(key in own), _presence(key in found))
            else:
                yield from ((f"{where} {column}", says) for column, says in _columns(own[key], found[key]))


def contrast(said: Any, stored: Any, unit: str = "") -> str:
    """Say what a file and the database say of the same thing, from shortly before the first difference on."""
    a, b = values.dumps(said), values.dumps(stored)
    alike = next((at for at, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), min(len(a), len(b)))
    begin = max(0, alike - SHOWN // 2)
    a, b = (_excerpt(text, begin) for text in (a, b))
    return f"file says {a}{unit and ' '}{unit}, row says {b}"


def _columns(own: msgspec.Struct, found: msgspec.Struct) -> Iterator[tuple[str, str]]:
    for name in own.__struct_fields__:
        if name == _ADDRESS:
            continue  # says where somebody's Jaeger is, and nothing of the run
        said, stored = getattr(own, name), getattr(found, name)
        if said != stored:
            yield name, contrast(said, stored)


def _by_key(children: list[Any], field: str) -> dict[tuple[Any, ...], Any]:
    return {tuple(getattr(child, column) for column in KEYS[field]): child for child in children}


def _presence(there: bool) -> str:  # noqa: FBT001 # the question is the name
    return "there" if there else "not there"


def _excerpt(text: str, begin: int) -> str:
    begin = begin if len(text) > SHOWN else 0
    return f"{'…' if begin else ''}{text[begin : begin + SHOWN]}{'…' if len(text) > begin + SHOWN else ''}"
