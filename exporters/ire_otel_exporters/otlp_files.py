"""Files of spans: OTLP/JSON lines as the Collector writes them, OTLP/JSON in one piece, and Jaeger's download."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ire_otel import semconv
from ire_otel.records import SpanRecord
from ire_otel_exporters import jaeger
from ire_otel_exporters.grouping import has_usable_run_id
from ire_otel_exporters.otlp import from_otlp_json

_OUTER: Final = ("resourceSpans", "resource_spans", "batches")
_SCOPES: Final = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans")
_OTHER_SIGNALS: Final = ("resourceLogs", "resourceMetrics", "resource_logs", "resource_metrics", "resourceProfiles")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What one line, or one file in one piece, held."""

    records: list[SpanRecord] = []
    problems: list[str] = []
    """What could not be read, and where it stands."""


def read(path: Path) -> Iterator[Reading]:
    """Give what a file holds, line by line where it has lines. Raises OSError; what cannot be read is named."""
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
        in_lines = _parsed(first) is not _BROKEN
        file.seek(0)
        if not in_lines:
            content = _parsed(file.read())
            place = str(path)
            if content is not _BROKEN:
                yield from _readings(content, place)
                return
            file.seek(0)  # its first line is broken; those after it may be whole
        for number, line in enumerate(file, 1):
            if line.strip():
                place = f"{path}:{number}"
                content = _parsed(line)
                if content is _BROKEN:
                    yield Reading(problems=[f"{place}: no JSON; it is left out"])
                else:
                    yield from _readings(content, place)


def read_content(content: Any, place: str) -> Reading:
    """Read one OTLP/JSON request, or one download of Jaeger; `place` names it in problems."""
    if not isinstance(content, Mapping):
        return Reading(problems=[f"{place}: {type(content).__name__} where an object is expected; it is left out"])
    if jaeger.is_download(content):
        return _without_bad_runs(_download(content, place), place)
    inner = content.get("result", content)
    if not isinstance(inner, Mapping) or not any(name in inner for name in _OUTER):
        if isinstance(inner, Mapping) and any(name in inner for name in _OTHER_SIGNALS):
            return Reading()
        return Reading(problems=[f"{place}: neither OTLP/JSON (resourceSpans) nor a download of Jaeger; left out"])
    return _without_bad_runs(_request(content, place), place)


def _without_bad_runs(reading: Reading, place: str) -> Reading:
    """Leave out spans whose run id is none: it is going to be a path."""
    good = [record for record in reading.records if has_usable_run_id(record)]
    missing = len(reading.records) - len(good)
    if not missing:
        return reading
    problem = f"{place}: {missing} spans whose {semconv.RUN_ID} is no run id; left out"
    return Reading(records=good, problems=[*reading.problems, problem])


_BROKEN: Final = object()


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _BROKEN


def _readings(content: Any, place: str) -> Iterator[Reading]:
    for part in content if isinstance(content, list) else [content]:
        yield read_content(part, place)


def _request(content: Mapping[str, Any], place: str) -> Reading:
    """Read a request whole; where that fails span by span, so that one bad span costs no other."""
    held = list(_single_spans(content))
    try:
        records = from_otlp_json(content)
        problems = [] if held and len(records) == len(held) else _why_fewer(len(held) - len(records), place)
        return Reading(records=records, problems=problems)
    except ValueError as error:
        if not held:
            return Reading(problems=[f"{place}: {error}"])
    records, problems = [], []
    for number, single in enumerate(held, 1):
        try:
            found = from_otlp_json(single)
        except ValueError as error:
            problems.append(f"{place}: span {number}: {error}")
            continue
        records += found
        problems += _why_fewer(1 - len(found), f"{place}: span {number}")
    return Reading(records=records, problems=problems)


def _why_fewer(missing: int, place: str) -> list[str]:
    return [f"{place}: {missing} without a trace id or span id; left out"] if missing > 0 else []


def _single_spans(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a request for each span, with its resource and scope."""
    inner = content.get("result", content)
    for resource_spans in (one for name in _OUTER for one in _objects(inner.get(name))):
        for scopes in (one for name in _SCOPES for one in _objects(resource_spans.get(name))):
            spans = scopes.get("spans")
            for span in spans if isinstance(spans, list) else ():
                alone = {**scopes, "spans": [span]}
                yield {"resourceSpans": [{"resource": resource_spans.get("resource"), "scopeSpans": [alone]}]}


def _objects(found: Any) -> list[Mapping[str, Any]]:
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _download(content: Mapping[str, Any], place: str) -> Reading:
    records, problems = [], []
    for number, (span, processes) in enumerate(jaeger.download_spans(content), 1):
        try:
            records.append(jaeger.from_jaeger(span, processes))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            problems.append(f"{place}: span {number}: {type(error).__name__}: {error}; left out")
    return Reading(records=records, problems=problems)
