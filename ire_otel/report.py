"""The link from a Markdown report to its run: YAML frontmatter that is spliced in, every other byte kept as it is."""

import contextlib
import hashlib
import logging
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import msgspec
from msgspec import UNSET

from ire_otel.errors import IreOtelError
from ire_otel.model import Number, TraceDocument
from ire_otel.values import plain, well_formed

KEYS: Final = ("trace_id", "generated_at", "quality_score", "quality_gate", "content_hash")
"""The top-level keys of the frontmatter that are ours, in the order in which they are written."""
MARKDOWN: Final = frozenset({".md", ".markdown"})
"""Endings of the files that take frontmatter."""

logger: Final = logging.getLogger("ire_otel")

_BOM: Final = b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_OPENING: Final = re.compile(rb"---[ \t]*\r?\n")
_CLOSING: Final = re.compile(rb"^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.MULTILINE)
_SIGNIFICANT: Final = re.compile(rb"^( *)(?![ \t\r\n#])", re.MULTILINE)
_KEY: Final = rb"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|(?![-?][ \t]|["'#,&*!|>%@`{}]|\[|\])[^\n]+?)[ \t]*:(?=[ \t\r\n])"""
_CONTINUED: Final = rb"(?:[ \t]+(?=[^\s#])|-(?=\s)|(?=[\]}]))[^\n]*\n"
"""A line that goes on with the value above it: deeper indentation, or what YAML allows at the same depth."""
_PLAIN: Final = re.compile(r"trc_[\w.-]+|\d{4}-\d\d-\d\dT[\d:.]+Z|sha256:[0-9a-f]{64}|passed|failed", re.ASCII)
"""Text that every YAML reader takes for that text (or that time) without quotes."""


class ReportLinkError(IreOtelError):
    """A report cannot be read, or cannot take frontmatter."""


class ReportFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says of its run; None leaves a key out."""

    trace_id: str
    generated_at: str | None = None
    """When the run was completed: ISO 8601 UTC, in seconds."""
    quality_score: Number | None = None
    """The gate's overall score, 0 to 3."""
    quality_gate: Literal["passed", "failed"] | None = None


class LiveRun(Protocol):
    """A run that may still be open: an `ire_otel.Trace`."""

    @property
    def recording(self) -> bool:
        """False where the project is not traced."""
        ...

    def document(self) -> TraceDocument:
        """Give the document of what is recorded so far."""
        ...


class _Parts(NamedTuple):
    """A report cut up; joined again it is the same bytes."""

    mark: bytes
    """The byte order mark, or nothing."""
    opening: bytes
    block: bytes
    """The lines between the fences; these three are empty where there is no frontmatter."""
    closing: bytes
    body: bytes


# -- text -------------------------------------------------------------------------------------------------------------


def with_frontmatter(text: str | bytes, facts: ReportFacts) -> bytes:
    """Give the report `text` with `facts` and the body's `content_hash` in its YAML frontmatter.

    Existing keys of ours are replaced where they stand, missing ones added at the end of the block; foreign keys, their
    order, comments, quotes and line endings stay, and the body keeps every byte. A report without frontmatter gets one,
    also where it only begins with a thematic break. Doing it again changes nothing.

    Raises ReportLinkError for UTF-16, TOML frontmatter, and YAML that is one `{…}`: these cannot take lines of ours.
    """
    parts = _split(_refusing(_bytes(text)))
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


def facts_of(document: TraceDocument) -> ReportFacts:
    """Give what a report says of the run of `document`."""
    judging = [stage for stage in document.stages.values() if not (stage.principle_scores is stage.passing is UNSET)]
    gate = document.stages.get("quality_gate", judging[-1] if judging else None)
    score = None if gate is None or gate.overall_score is UNSET else gate.overall_score
    passed = None if gate is None or gate.passing is UNSET else gate.passing
    return ReportFacts(
        trace_id=document.trace_id,
        generated_at=_in_seconds(document.run.completed_at),
        quality_score=score if score is not None and math.isfinite(score) else None,
        quality_gate=None if passed is None else "passed" if passed else "failed",
    )


def report_path(document: TraceDocument) -> str | None:
    """Give the path of the report as the run named it in `outputs.report_path`."""
    named = plain(document.outputs.get("report_path"))
    return named if isinstance(named, str) and named else None


# -- files ------------------------------------------------------------------------------------------------------------


def link_report(path: str | Path, trace: LiveRun | TraceDocument | ReportFacts) -> bool:
    """Write into the Markdown report at `path` which run made it; True if the file had to be changed.

    trace: the run, open or ended; or its document; or the facts alone. `generated_at` of a run that has not ended is the
    time of the first link. The file is replaced whole or not at all and keeps its mode. The way from the run to the
    report is `outputs.report_path`: `trace.set_outputs({"report_path": …})`.

    Raises ReportLinkError, which names file and reason; for a live run it is a log record instead, because tracing must
    never break the run it watches. Where the project is not traced nothing happens.

        with ire_otel.run(query, project_name="cobot") as trace:
            ...
            path.write_text(report)
            trace.set_outputs({"report_path": str(path)})
            ire_otel.link_report(path, trace)
    """
    if isinstance(trace, TraceDocument | ReportFacts):
        return _link(Path(path), facts_of(trace) if isinstance(trace, TraceDocument) else trace)
    try:
        return trace.recording and _link(Path(path), facts_of(trace.document()))
    except Exception as error:  # noqa: BLE001 # as the docstring says
        logger.warning("%s; the run goes on", error)
        return False


def link_output(document: TraceDocument, *, again: bool = False) -> bool:
    """Link the Markdown report that `document` names, where that file exists; True if it had to be changed.

    A report that belongs to another run, unedited, is left alone. again: the run was written before; then a report that
    was edited since is left alone too, so that its hash goes on saying so. Raises ReportLinkError.
    """
    path = Path(report_path(document) or "")
    if path.suffix.lower() not in MARKDOWN or not path.is_file():
        return False
    data = _read(path)
    said = frontmatter(data)
    own, edited = said.get("trace_id") == document.trace_id, _edited(data)
    if (own and not edited) if again else (own or edited or "trace_id" not in said):
        return _link(path, facts_of(document))
    return False


def trace_id_of(path: str | Path) -> str | None:
    """Give the trace_id of the run that made the report at `path`; None where the report names none.

    Raises ReportLinkError where the file cannot be read.
    """
    named = frontmatter(_read(Path(path))).get("trace_id")
    return None if named is None else str(named)


def edited_since(path: str | Path) -> bool:
    """Tell whether the body of the report at `path` is another than when it was linked; False if it never was.

    Raises ReportLinkError where the file cannot be read.
    """
    return _edited(_read(Path(path)))


def differences(path: str | Path, document: TraceDocument) -> list[str]:
    """Give, in a sentence each, where the report at `path` and the run of `document` contradict each other.

    A report that names no run was never linked, which is no contradiction. Raises ReportLinkError where the file is
    there but cannot be read.
    """
    path, named = Path(path), report_path(document)
    found = []
    if named is None:
        found.append(f"run {document.trace_id} names no report, not {path}")
    elif not _same_file(path, Path(named)):
        found.append(f"run {document.trace_id} names the report {named}, not {path}")
    if not path.is_file():
        return [*found, f"report {path} of run {document.trace_id} is not there"]
    data = _read(path) if path.suffix.lower() in MARKDOWN else b""
    said = frontmatter(data)
    if "trace_id" not in said:
        return found
    if said["trace_id"] != document.trace_id:
        return [*found, f"report {path} names run {said['trace_id']}, not {document.trace_id}"]
    facts = facts_of(document)
    for key, right in (("quality_score", facts.quality_score), ("quality_gate", facts.quality_gate)):
        if said.get(key) != right:
            found.append(f"report {path} says {key} {said.get(key)}, run {document.trace_id} says {right}")
    if _edited(data):
        found.append(f"report {path} was edited after run {document.trace_id} was traced")
    return found


# -- parts of the text ------------------------------------------------------------------------------------------------


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else well_formed(text).encode()


def _split(data: bytes) -> _Parts:
    mark = _BOM if data.startswith(_BOM) else b""
    opening = _OPENING.match(data, len(mark))
    closing = _CLOSING.search(data, opening.end()) if opening else None
    if opening is None or closing is None:
        return _Parts(mark, b"", b"", b"", data[len(mark) :])
    block = data[opening.end() : closing.start()]
    if not _is_mapping(block):
        return _Parts(mark, b"", b"", b"", data[len(mark) :])
    return _Parts(mark, opening[0], block, closing[0], data[closing.end() :])


def _refusing(data: bytes) -> bytes:
    """Give `data` back. Raises ReportLinkError where a block of ours would spoil what is there."""
    text = data.removeprefix(_BOM)
    if data.startswith(_UTF16):
        raise ReportLinkError("it is UTF-16; save it as UTF-8")
    if re.match(rb"\+\+\+[ \t]*\r?\n", text):
        raise ReportLinkError("its frontmatter is TOML (+++); write it as YAML (---)")
    if re.match(rb"---[ \t]*\r?\n(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*\{", text):
        raise ReportLinkError("its frontmatter is one {…}; write it as lines of `key: value`")
    return data


def _indentation(block: bytes) -> bytes:
    """Give the spaces before the block's top-level keys: as before its first line that is neither blank nor comment."""
    first = _SIGNIFICANT.search(block)
    return first[1] if first else b""


def _is_mapping(block: bytes) -> bool:
    """Tell whether the lines could be keys and values, well-formed or not, and no text between two thematic breaks."""
    indentation = _indentation(block)
    key = re.compile(indentation + _KEY)
    line = re.compile(rb"[ \t]*(?:#[^\n]*)?\r?\n|" + indentation + rb"(?:" + _KEY + rb"|" + _CONTINUED + rb"|[ \t]+#)")
    first = _SIGNIFICANT.search(block)
    if first and not key.match(block, first.start()):
        return False
    return all(line.match(one) for one in block.splitlines(keepends=True) if one.strip())


def _entries(block: bytes) -> re.Pattern[bytes]:
    """Give the pattern of one key of ours with its value, over all its lines."""
    indentation = _indentation(block)
    keys = "|".join(KEYS).encode()
    return re.compile(
        rb"^(?P<start>" + indentation + rb"(?P<quote>[\"']?)(?P<key>" + keys + rb")(?P=quote)[ \t]*:)(?=\s)(?P<gap>[ \t]*)"
        rb"""(?P<value>"(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'|(?:[^\s#][^\n]*?)?)"""
        rb"(?P<tail>(?:[ \t]+#[^\n]*|[ \t]*\r?)\n)"
        rb"(?:(?:[ \t]*\r?\n)*" + indentation + _CONTINUED + rb")*",
        re.MULTILINE,
    )


def _replaced(block: bytes, scalars: Mapping[str, bytes], newline: bytes) -> bytes:
    """Put `scalars` in the place of the keys of ours in `block`, and those that are not there at its end."""
    missing = dict(scalars)

    def changed(entry: re.Match[bytes]) -> bytes:
        scalar = missing.pop(entry["key"].decode(), None)
        return b"" if scalar is None else entry["start"] + (entry["gap"] or b" ") + scalar + entry["tail"]

    block = _entries(block).sub(changed, block)
    indentation = _indentation(block)
    added = (indentation + key.encode() + b": " + scalar + newline for key, scalar in missing.items())
    return b"".join((block, *added))


def _scalar(value: str | Number) -> bytes:
    """Give a YAML scalar; JSON is YAML where text could be taken for something else."""
    if not isinstance(value, str):
        return str(value).encode()
    return value.encode() if _PLAIN.fullmatch(value) else msgspec.json.encode(well_formed(value))


def _unquoted(value: str) -> str | None:
    if value[:1] == '"':
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(value, type=str)
    if value[:1] == "'":
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


def _edited(data: bytes) -> bool:
    linked = frontmatter(data).get("content_hash")
    return linked is not None and linked != _hash(_split(data).body)


def _in_seconds(stamp: str | None) -> str | None:
    try:
        moment = datetime.fromisoformat(stamp) if stamp else None
    except ValueError:
        return stamp
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


# -- parts of the file ------------------------------------------------------------------------------------------------


def _same_file(path: Path, named: Path) -> bool:
    """Tell whether a run's `named` report is `path`; a relative one may be from another working directory."""
    return path.resolve() == named.resolve() or (
        not named.is_absolute() and path.absolute().parts[-len(named.parts) :] == named.parts
    )


def _link(path: Path, facts: ReportFacts) -> bool:
    def change(data: bytes) -> bytes:
        said = frontmatter(data)
        linked = said.get("generated_at") if said.get("trace_id") == facts.trace_id else None
        at = facts.generated_at or str(linked or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        return with_frontmatter(data, msgspec.structs.replace(facts, generated_at=at))

    try:
        return _rewrite(path.resolve(strict=True), change)
    except ReportLinkError as error:
        raise ReportLinkError(f"cannot link {path} to run {facts.trace_id}: {error}") from error
    except OSError as error:
        reason = f"{error.strerror}; write the report first, where its folder can be written"
        raise ReportLinkError(f"cannot link {path} to run {facts.trace_id}: {reason}") from error


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> bool:
    """Replace a file's content whole or not at all, keeping mode and owner; True if `change` changed it."""
    before = path.stat()
    data = path.read_bytes()
    changed = change(data)
    if changed == data:
        return False
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem[:50]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(changed)
            file.flush()
            with contextlib.suppress(PermissionError):  # only root gives files away
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), before.st_mode)
            os.fsync(file.fileno())
        if _version(path.stat()) != _version(before):
            raise ReportLinkError("it was being written at the same time; link it again when it is whole")
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReportLinkError(f"cannot read the report {path}: {error.strerror}; check its path and mode") from error
