"""Traces that hold no run of ire-otel, as runs: which of their spans is the run, and which are its stages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from ire_otel import semconv, values
from ire_otel.llm import vocabulary
from ire_otel.llm.messages import USER_MESSAGE, captured_prompts
from ire_otel.records import Attributes, SpanRecord

_AGENT_OPERATIONS: Final = ("invoke_agent", "invoke_workflow")
_AGENT_KINDS: Final = ("AGENT",)
_TRACELOOP_KINDS: Final = ("agent", "workflow")
_FAMILIES: Final = ("gen_ai.", "openinference.", "llm.", "traceloop.")
"""How attributes begin by which a trace is known to be an agent's."""
_ID_DIGITS: Final = 16
"""Hex digits of a run's id; the last ones of a trace's id are the random ones, whoever made it."""
_QUESTIONS: Final = ("query", "question", "input", "topic", "prompt", "message")
"""Members of a JSON input, the first of which is what was asked."""


class RunMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How spans of others become runs and stages. As it is, it takes what GenAI conventions and OpenInference name."""

    stages: dict[str, str] = {}
    """Stage names by span names, which may hold `*`; where any is given, only spans that match become stages."""
    names: tuple[str, ...] = ("gen_ai.agent.name", "agent.name", "graph.node.id", "traceloop.entity.name")
    """Attributes that name a stage, the first that is there; else its span's name does."""
    query: tuple[str, ...] = ("input.value", "traceloop.entity.input")
    """Attributes of the root that hold the query; else what was asked of the first model call."""
    outputs: tuple[str, ...] = ("output.value", "traceloop.entity.output", "gen_ai.output.messages")
    """Attributes that hold what a run or stage gave."""
    project: tuple[str, ...] = ("service.name",)
    """Attributes, of the root or its resource, that name the project."""
    report_type: tuple[str, ...] = ()
    """Attributes of the root that hold the kind of report."""
    intent: tuple[str, ...] = ()
    """Attributes of the root that hold the intent."""


DEFAULT: Final = RunMapping()


def holds_run(records: Iterable[SpanRecord]) -> bool:
    """Tell whether spans of a trace belong to a run of ire-otel already."""
    return any(semconv.RUN_ID in record.attributes for record in records)


def is_one(records: Iterable[SpanRecord], mapping: RunMapping) -> bool:
    """Tell whether a trace without a run of ire-otel is to become one.

    It is where the mapping names stages, or any span follows the GenAI conventions or OpenInference.
    """
    return bool(mapping.stages) or any(name.startswith(_FAMILIES) for record in records for name in record.attributes)


def mapped(records: Sequence[SpanRecord], mapping: RunMapping = DEFAULT) -> list[SpanRecord]:
    """Give the spans of one trace (a run, its stages, and all else inside it) as `assemble` takes them.

    The root becomes the run; without one, the earliest span. The run's id is made of the trace's, so that it stays the
    same when the root comes later. Its direct children (model calls and requests to other
    services excepted) and all agent spans become stages. Spans keep what they hold, and those of a trace that holds a
    run already are given as they are.
    """
    if not records or holds_run(records):
        return list(records)
    ids = {record.span_id for record in records}
    by_start = sorted(records, key=lambda record: (record.start_ns, record.span_id))
    tops = [record for record in by_start if record.parent_span_id not in ids] or by_start
    root = next((record for record in tops if record.parent_span_id is None), tops[0])
    day = datetime.fromtimestamp(by_start[0].start_ns // 1_000_000_000, UTC)
    run_id = f"trc_{day:%Y%m%d}_{root.trace_id[_ID_DIGITS:]}"
    given = []
    for record in records:
        if record.span_id == root.span_id:
            said = _run(record, mapping, by_start)
        else:
            said = _stage(record, mapping, top=record.parent_span_id == root.span_id or record in tops)
        marks = {semconv.RUN_ID: run_id, **{key: value for key, value in said.items() if value is not None}}
        given.append(msgspec.structs.replace(record, attributes={**record.attributes, **marks}))
    return given


def _run(root: SpanRecord, mapping: RunMapping, by_start: Sequence[SpanRecord]) -> dict[str, Any]:
    attributes = {**root.resource, **root.attributes}
    outputs = _first(root.attributes, mapping.outputs)
    missing = root.parent_span_id is not None
    return {
        semconv.SCHEMA: semconv.SCHEMA_VERSION,
        semconv.RUN_QUERY: values.attribute(_query(root, mapping, by_start)),
        semconv.PROJECT_NAME: values.attribute(_first(attributes, mapping.project)),
        semconv.RUN_REPORT_TYPE: values.attribute(_first(root.attributes, mapping.report_type)),
        semconv.RUN_INTENT: values.attribute(_first(root.attributes, mapping.intent)),
        semconv.RUN_OUTPUTS: None if outputs is None else _object(outputs),
        semconv.WARNING: "the trace's root is missing: its earliest span stands for the run" if missing else None,
    }


def _stage(record: SpanRecord, mapping: RunMapping, *, top: bool) -> dict[str, Any]:
    name = _stage_name(record, mapping, top=top)
    if name is None:
        return {}
    outputs = _first(record.attributes, mapping.outputs)
    return {
        semconv.STAGE_NAME: values.attribute(name[: semconv.NAME_LENGTH]),
        semconv.STAGE_OUTPUTS: None if outputs is None else _object(outputs),
    }


def _stage_name(record: SpanRecord, mapping: RunMapping, *, top: bool) -> str | None:
    """Give the name of the stage that a span stands for; None for one that stands for none."""
    if mapping.stages:
        return next((stage for pattern, stage in mapping.stages.items() if fnmatchcase(record.name, pattern)), None)
    if vocabulary.kind_of(record.name, record.attributes) is not None:
        return None
    if _is_agent(record) or (top and record.kind != "CLIENT"):
        named = _first(record.attributes, mapping.names)
        return str(named) if named else record.name or "step"
    return None


def _is_agent(record: SpanRecord) -> bool:
    said = record.attributes
    return (
        said.get(vocabulary.OPERATION) in _AGENT_OPERATIONS
        or said.get(vocabulary.SPAN_KIND) in _AGENT_KINDS
        or said.get("traceloop.span.kind") in _TRACELOOP_KINDS
    )


def _query(root: SpanRecord, mapping: RunMapping, by_start: Sequence[SpanRecord]) -> str | None:
    said = _first(root.attributes, mapping.query)
    if said is not None:
        return _question(said)
    asked = (captured_prompts(record.attributes).get(USER_MESSAGE) for record in (root, *by_start))
    return next(filter(None, asked), None)


def _question(said: Any) -> str:
    """Give what was asked: of a JSON object the member that says it, else all of it."""
    plain = values.plain(values.decode(said))
    if isinstance(plain, Mapping):
        found = next((plain[name] for name in _QUESTIONS if isinstance(plain.get(name), str)), None)
        if found is not None:
            return str(found)
    return plain if isinstance(plain, str) else values.dumps(plain)


def _object(said: Any) -> str:
    """Give outputs as the JSON object that they are in a document."""
    plain = values.plain(values.decode(said))
    return values.dumps(plain if isinstance(plain, Mapping) else {"output": plain})


def _first(attributes: Attributes, names: Iterable[str]) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) not in (None, "")), None)
