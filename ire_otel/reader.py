"""Read trace documents of this and earlier versions of the schema.

`python -m ire_otel.reader > docs/trace-v1.schema.json` writes the JSON Schema anew.
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ire_otel import semconv, values
from ire_otel.assembly.facts import stage_fields
from ire_otel.assembly.gate import reported_verdict, verdict_fields
from ire_otel.errors import SchemaTooNewError, TraceFileError
from ire_otel.model import TraceDocument

BLUEPRINT: Final = 0
"""Version of documents that say `schema_version` 1 but come from before ire-otel, so without OpenTelemetry ids."""


class _HeadMetadata(msgspec.Struct, frozen=True):
    otel_trace_id: str | None = None


class _Head(msgspec.Struct, frozen=True):
    schema_version: int = BLUEPRINT
    metadata: _HeadMetadata = _HeadMetadata()


def decode(data: bytes, name: str) -> TraceDocument:
    """Read the content of one trace file; `name` is its name in errors.

    An earlier version is upgraded in memory. Raises SchemaTooNewError for a later one, TraceFileError for what is no
    trace document.
    """
    try:
        if _version(msgspec.json.decode(data, type=_Head)) == semconv.SCHEMA_VERSION:
            return msgspec.json.decode(data, type=TraceDocument)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        # Not as we write it: the slow way also bears NaN and numbers that no float holds, and says what is wrong where.
        pass
    return _converted(_upgraded(_parsed(data, name), name), name)


def schema() -> dict[str, Any]:
    """Give the JSON Schema of the trace document, generated from the types."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ire-otel:trace:v{semconv.SCHEMA_VERSION}",
        "title": f"ire-otel trace document, schema version {semconv.SCHEMA_VERSION}",
        **msgspec.json.schema(TraceDocument),
    }


def schema_text() -> str:
    """Give the JSON Schema as the text of its file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _version(head: _Head) -> int:
    if head.schema_version == semconv.SCHEMA_VERSION and head.metadata.otel_trace_id is None:
        return BLUEPRINT
    return head.schema_version


def _parsed(data: bytes, name: str) -> dict[str, Any]:
    try:
        content = json.loads(data, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise TraceFileError(
            f"{name} is no JSON ({error}): it was cut or edited; restore it from a backup, or remove it"
        ) from error
    if not isinstance(content, dict):
        raise TraceFileError(
            f"{name} is no trace document: it holds {type(content).__name__}, not an object; remove it"
        )
    return content


def _upgraded(content: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        version = _version(msgspec.convert(content, _Head))
    except msgspec.ValidationError as error:
        raise TraceFileError(f"{name} is no trace document: {error}; restore it from a backup, or remove it") from error
    if version > semconv.SCHEMA_VERSION:
        raise SchemaTooNewError(
            f"{name} has schema version {version}, this ire-otel reads up to {semconv.SCHEMA_VERSION}; upgrade ire-otel"
        )
    while version < semconv.SCHEMA_VERSION:
        if version not in UPGRADES:
            raise TraceFileError(f"{name} has schema version {version}, which never existed; set it right or remove it")
        content = UPGRADES[version](content)
        version += 1
    return content


def _converted(content: dict[str, Any], name: str) -> TraceDocument:
    try:
        return msgspec.convert(content, TraceDocument)
    except (msgspec.ValidationError, RecursionError) as error:
        raise TraceFileError(f"{name} is no trace document: {error}; restore it from a backup, or remove it") from error


def _from_blueprint(content: dict[str, Any]) -> dict[str, Any]:
    """Upgrade a document whose stages hold scores, usage and counts only in their `outputs`."""
    stages = _object(content.get("stages"))
    return {
        **content,
        "schema_version": 1,
        "run": _given(content.get("run")),
        "stages": {name: _stage_from_blueprint(_given(stage)) for name, stage in stages.items()},
        "metadata": {
            "generator": "unknown",
            "otel_trace_id": "",
            "otel_span_id": "",
            **_given(content.get("metadata")),
        },
    }


def _stage_from_blueprint(stage: dict[str, Any]) -> dict[str, Any]:
    said = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in _object(stage.get("outputs")).items()}
    verdict = reported_verdict(said)
    lifted = stage_fields({}, said) | (verdict_fields([verdict]) if verdict is not None else {})
    stage = {name: value for name, value in stage.items() if value != {} or name == "outputs"}
    decisions = [_given(decision) for decision in stage.get("decisions", [])]
    return {**msgspec.to_builtins(values.plain(lifted)), **stage, "decisions": decisions}


def _given(value: Any) -> dict[str, Any]:
    """Leave out what is null, so that it gets its default."""
    return {name: item for name, item in _object(value).items() if item is not None}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


UPGRADES: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {BLUEPRINT: _from_blueprint}
"""From each earlier version to the next."""


if __name__ == "__main__":
    sys.stdout.write(schema_text())
