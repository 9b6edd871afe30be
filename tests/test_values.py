"""Values: whatever a pipeline records becomes an attribute value, and comes back."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ire_otel import values

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.binary(), inner, max_size=3)
        | st.frozensets(st.integers() | st.text(), max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_json_values_come_back_as_they_were(value: Any) -> None:
    """Decode undoes attribute, also for strings that look like JSON."""
    assert values.plain(values.decode(values.attribute(value))) == value


@given(anything)
def test_every_value_has_an_attribute_that_is_valid_json_or_a_scalar(value: Any) -> None:
    """Nothing raises; containers are JSON that any reader takes, integers fit OTLP, floats are finite."""
    made = values.attribute(value)
    assert made is None or type(made) in {str, bool, int, float}
    if type(made) is int:
        assert made in values.INT64
    if isinstance(value, list | tuple | dict | frozenset):
        assert isinstance(made, str)
        json.loads(made)
        values.well_formed(made).encode()
    json.loads(values.dumps(value))


@given(json_values)
def test_text_cut_by_a_length_limit_stays_text(value: Any) -> None:
    """A JSON string that lost its end on the way is kept as it is."""
    encoded = values.dumps([value])
    assert values.decode(encoded[:-1]) == encoded[:-1]


@given(st.text())
def test_well_formed_text_can_be_encoded(text: str) -> None:
    """Lone surrogates go, everything else stays."""
    mended = values.well_formed(text)
    assert len(mended) == len(text)
    assert all(new in {old, "\ufffd"} for new, old in zip(mended, text, strict=True))
    mended.encode()


def test_hostile_text_does_not_break_a_reader() -> None:
    """Nesting deeper than any parser goes stays text; numbers beyond a float are infinite."""
    deep = "[" * 100_000 + "]" * 100_000
    assert values.decode(deep) == deep
    assert values.plain(values.decode('{"far": 1e999}')) == {"far": float("inf")}


def test_structs_dataclasses_and_models_become_their_fields() -> None:
    """Also one inside another."""
    from dataclasses import dataclass

    class Inner(msgspec.Struct):
        number: int

    @dataclass
    class Outer:
        inner: Inner
        items: set[int]

    assert json.loads(values.dumps(Outer(Inner(5), {2, 1}))) == {"inner": {"number": 5}, "items": [1, 2]}
