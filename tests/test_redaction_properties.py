"""Redaction holds for any mix of text and secrets."""

import json
import re
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ire_otel.redaction import Redactor, _marked
from ire_otel.redaction.kinds import KINDS
from tests.planted_secrets import HARMLESS, PLANTED, TOKENS

redacted = Redactor().text
PLAIN = re.compile("|".join(kind.pattern for kind in KINDS), re.ASCII)
"""The same patterns in the engine of the standard library, which is a thousand times slower."""

STARTS = ["sk-", "sk-ant-", "eyJ", "eyJ.", "-----BEGIN PRIVATE KEY-----", "AKIA", "hf_", "r8_", "://u:", "Bearer ", "@"]
NAMES = ["password", "api_key=", '"token": "', "token: ", "secret=", "'passwd': '", "Authorization: Bearer ", 'pwd"']
SEPARATORS = ["", " ", "\n", "\\", '"', "\\n", "\\u00e4", "ä", "'", "=", ":", ",", "_", "-", "7", "\0"]
SECRETS = [planted.secret for planted in PLANTED] + [planted.text for planted in PLANTED]

pieces = st.sampled_from([*STARTS, *NAMES, *SEPARATORS, *SECRETS, *HARMLESS]) | st.text(
    "aA1 -_./\\\"':@=\n", max_size=12
)
mixes = st.lists(pieces | pieces.map(json.dumps), max_size=12).map("".join)


def as_json(text: str, depth: int) -> str:
    for _ in range(depth):
        text = json.dumps({"text": text})
    return text


@settings(deadline=None)
@given(mixes, st.integers(0, 3), st.integers(0, 4000))
def test_the_fast_way_finds_what_the_plain_one_finds(text: str, depth: int, length: int) -> None:
    """RE2 and one alternation of `re` agree, also where the text is cut."""
    cut = as_json(text, depth)[:length]
    assert redacted(cut) == PLAIN.sub(_marked, PLAIN.sub(_marked, cut))


@settings(deadline=None)
@given(mixes, st.sampled_from([planted.secret for planted in TOKENS]), mixes, st.integers(0, 3))
def test_a_secret_never_stays(before: str, secret: str, after: str, depth: int) -> None:
    """Whatever stands round it, as long as it begins where a word may."""
    assume(not re.search(r"[A-Za-z0-9\\]$", before) and secret not in before + after)
    text = as_json(f"{before}{secret} {after}", depth)
    hidden = secret
    for _ in range(depth):
        hidden = json.dumps(hidden)[1:-1]
    assert hidden not in redacted(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | mixes,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(mixes, inner, max_size=4),
    max_leaves=8,
)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return [shape(item) for item in value.values()]
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


def pairs(given: list[tuple[str, Any]]) -> dict[Any, Any]:
    """Keep both of two keys that have become one."""
    return dict(enumerate(item for _, item in given))


@settings(deadline=None)
@given(json_values, st.booleans(), st.booleans())
def test_json_stays_json(value: Any, ascii_only: bool, nested: bool) -> None:  # noqa: FBT001 # hypothesis gives them
    """Of the same shape; also with blanks, with escapes, and inside a string of JSON."""
    encoded = json.dumps({"v": json.dumps(value)} if nested else value, ensure_ascii=ascii_only)
    clean = redacted(encoded)
    before, after = (json.loads(text, object_pairs_hook=pairs) for text in (encoded, clean))
    assert shape(before) == shape(after)


@settings(deadline=None)
@given(mixes, st.integers(0, 2))
def test_once_is_enough(text: str, depth: int) -> None:
    """What was redacted before it was sent may be redacted again where it arrives."""
    once = redacted(as_json(text, depth))
    assert redacted(once) == once
