"""What a report says of its run, as YAML frontmatter: spliced in, every other byte kept as it is. Pure."""

import contextlib
import hashlib
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from ire_otel.errors import IreOtelError
from ire_otel.model import Number
from ire_otel.values import well_formed

KEYS: Final = ("trace_id", "generated_at", "quality_score", "quality_gate", "content_hash")
"""The top-level keys that are ours, in the order in which they are written."""

_BOM: Final = b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_TOML: Final = re.compile(rb"\+\+\+[ \t]*\r?\n")
_BRACES: Final = re.compile(rb"---[ \t]*\r?\n\s*\{(?![{%]).*?\}\s*\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)

_OPENING: Final = re.compile(rb"---[ \t]*\r?\n")
_CLOSING: Final = re.compile(rb"^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.MULTILINE)
_SIGNIFICANT: Final = re.compile(rb"^( *)(?=[^ \t\r\n#])", re.MULTILINE)
_KEY: Final = rb"""(?:"(?:[^"\\\n]|\\.)*"[ \t]*|'[^'\n]*'[ \t]*|(?![-?][ \t]|["'#,&*!|>%@`{}]|\[|\])[^\n]+?):(?=\s)"""
_CONTINUED: Final = rb"(?:[ \t]+(?=[^\s#])|-(?=\s)|(?=[\]}]))[^\n]*\n"
"""A line that goes on with the value above it: deeper indentation, or what YAML allows at the same depth."""
_PLAIN: Final = re.compile(r"trc_[\w.-]+|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|sha256:[0-9a-f]{64}|passed|failed", re.ASCII)
"""Text that every YAML reader takes for that text (or that time) without quotes."""


class ReportLinkError(IreOtelError):
    """A report cannot be read, or cannot take frontmatter."""


class ReportFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says of its run; None leaves a key out, or says null where the report has that key already."""

    trace_id: str
    """The run that made the report."""
    generated_at: str | None = None
    """When the run was completed: ISO 8601 UTC, in seconds."""
    quality_score: Number | None = None
    """The gate's overall score, 0 to 3."""
    quality_gate: Literal["passed", "failed"] | None = None
    """The gate's verdict."""


class _Parts(NamedTuple):
    """A report cut up; joined again it is the same bytes."""

    mark: bytes
    """The byte order mark, or nothing."""
    opening: bytes
    """The upper fence; empty, like the two below, where there is no frontmatter."""
    block: bytes
    """The lines between the fences."""
    closing: bytes
    """The lower fence."""
    body: bytes
    """All the rest."""


def with_frontmatter(text: str | bytes, facts: ReportFacts) -> bytes:
    """Give the report `text` with `facts` and the body's `content_hash` in its YAML frontmatter.

    Keys of ours are replaced where they stand, missing ones added at the end of the block; foreign keys, their order,
    comments, quotes and line endings stay, and the body keeps every byte. A report without frontmatter gets one, also
    where it only begins with a thematic break. Doing it again changes nothing.

    Raises ReportLinkError for UTF-16, TOML frontmatter, and YAML that is one `{…}`: these cannot take lines of ours.
    """
    data = _bytes(text)
    _refuse(data)
    parts = _split(data)
    newline = b"\r\n" if re.match(rb"[^\n]*\r\n", parts.opening or parts.body) else b"\n"
    values = {**msgspec.structs.asdict(facts), "content_hash": _hash(parts.body)}
    scalars = {key: _scalar(values[key]) for key in KEYS if values[key] is not None}
    block = _replaced(parts.block, scalars, newline)
    fence = b"---" + newline
    return b"".join((parts.mark, parts.opening or fence, block, parts.closing or fence, parts.body))


def frontmatter(text: str | bytes) -> dict[str, str | float]:
    """Give our keys in the frontmatter of the report `text`, as far as they are there; `quality_score` is a number."""
    block = _split(_bytes(text)).block
    said: dict[str, str | float] = {}
    for entry in _entries(block).finditer(block):
        key, value = entry["key"].decode(), _unquoted(entry["value"].decode(errors="replace"))
        if value is not None:
            said.setdefault(key, _number(value) if key == "quality_score" else value)
    return said


def edited(text: str | bytes) -> bool:
    """Tell whether the body of the report `text` is another than its `content_hash` says; False where it says none."""
    data = _bytes(text)
    linked = frontmatter(data).get("content_hash")
    return linked is not None and linked != _hash(_split(data).body)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else well_formed(text).encode()


def _refuse(data: bytes) -> None:
    """Raise ReportLinkError where a block of ours would spoil what is there."""
    text = data.removeprefix(_BOM)
    if data.startswith(_UTF16):
        raise ReportLinkError("it is UTF-16; save it as UTF-8")
    if _TOML.match(text):
        raise ReportLinkError("its frontmatter is TOML (+++); write it as YAML (---)")
    if _BRACES.match(text):
        raise ReportLinkError("its frontmatter is one {…}; write it as lines of `key: value`")


def _split(data: bytes) -> _Parts:
    mark = _BOM if data.startswith(_BOM) else b""
    opening = _OPENING.match(data, len(mark))
    closing = _CLOSING.search(data, opening.end()) if opening else None
    if opening is not None and closing is not None:
        block = data[opening.end() : closing.start()]
        if _is_mapping(block):
            return _Parts(mark, opening[0], block, closing[0], data[closing.end() :])
    return _Parts(mark, b"", b"", b"", data[len(mark) :])


def _indentation(block: bytes) -> bytes:
    """Give the spaces before the top-level keys: those before the first line that is neither blank nor comment."""
    first = _SIGNIFICANT.search(block)
    return first[1] if first else b""


def _is_mapping(block: bytes) -> bool:
    """Tell whether the lines could be keys and values, well-formed or not, and no text between two thematic breaks."""
    indentation = _indentation(block)
    first = _SIGNIFICANT.search(block)
    if first and not re.compile(indentation + _KEY).match(block, first.start()):
        return False
    line = re.compile(rb"[ \t]*#|" + indentation + rb"(?:" + _KEY + rb"|" + _CONTINUED + rb")")
    return all(line.match(one) for one in re.findall(rb"[^\n]*\n", block) if one.strip())


def _entries(block: bytes) -> re.Pattern[bytes]:
    """Give the pattern of one key of ours with its value, over all its lines."""
    indentation, keys = _indentation(block), "|".join(KEYS).encode()
    return re.compile(
        rb"^(?P<start>%b(?P<quote>[\"']?)(?P<key>%b)(?P=quote)[ \t]*:)(?=\s)(?P<gap>[ \t]*)" % (indentation, keys)
        + rb"""(?P<value>"(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'|(?:[^\s#][^ \t\r\n]*(?:[ \t]+(?!#)[^ \t\r\n]+)*)?)"""
        + rb"(?P<tail>(?:[ \t]+#[^\n]*|[ \t]*\r?)\n)"
        + rb"(?:(?:[ \t]*\r?\n)*%b%b)*" % (indentation, _CONTINUED),
        re.MULTILINE,
    )


def _replaced(block: bytes, scalars: Mapping[str, bytes], newline: bytes) -> bytes:
    """Put `scalars` in the place of the keys of ours in `block`, and those that are not there at its end."""
    there = set()

    def changed(entry: re.Match[bytes]) -> bytes:
        key = entry["key"].decode()
        there.add(key)
        # Not taken out, because the comment below would then become the text of what stands above.
        return entry["start"] + (entry["gap"] or b" ") + scalars.get(key, b"null") + entry["tail"]

    block, indentation = _entries(block).sub(changed, block), _indentation(block)
    added = (indentation + key.encode() + b": " + scalars[key] + newline for key in scalars if key not in there)
    return b"".join((block, *added))


def _scalar(value: str | Number) -> bytes:
    """Give a YAML scalar: text that could be taken for something else as JSON, which is YAML too."""
    if not isinstance(value, str):
        return str(value).encode()
    return value.encode() if _PLAIN.fullmatch(value) else msgspec.json.encode(well_formed(value))


def _unquoted(value: str) -> str | None:
    if value[:1] == '"':
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.json.decode(value, type=str)
    if len(value) > 1 and value[0] == value[-1] == "'":
        return value[1:-1].replace("''", "'")
    return None if value in {"", "~", "null"} else value


def _number(value: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return value


def _hash(body: bytes) -> str:
    # With its algorithm's name, because digits alone can be a number in YAML.
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
