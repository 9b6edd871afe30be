"""Jaeger: the JSON that its page downloads, and its query API (`/api/v3`, which speaks OTLP)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, Final, cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import urlopen

from ire_otel.errors import IreOtelError
from ire_otel.records import EventRecord, Kind, LinkRecord, SpanRecord, Status

PATIENCE: Final = 30.0
"""Seconds that Jaeger has to answer."""
MOST_TRACES: Final = 1_500
"""Most traces of one service that are asked for at once: what Jaeger's storages give by default."""

_KINDS: Final[Mapping[str, Kind]] = {
    "server": "SERVER",
    "client": "CLIENT",
    "producer": "PRODUCER",
    "consumer": "CONSUMER",
}
_FIELDS: Final = ("span.kind", "otel.status_code", "otel.status_description", "internal.span.format", "w3c.tracestate")
_BLANK: Final = re.compile(r"\s*")
_SCOPE_NAMES: Final = ("otel.scope.name", "otel.library.name")
_SCOPE_VERSIONS: Final = ("otel.scope.version", "otel.library.version")


class JaegerError(IreOtelError):
    """Jaeger cannot be reached, or answers something else than its API promises."""


def is_download(content: Any) -> bool:
    """Tell whether JSON is what Jaeger's page downloads: `{"data": [{"traceID", "spans", "processes"}]}`."""
    traces = content.get("data") if isinstance(content, Mapping) else None
    return isinstance(traces, list) and all(isinstance(trace, Mapping) and "spans" in trace for trace in traces)


def download_spans(content: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Give each span of a download, with the processes of its trace."""
    for trace in content["data"]:
        for span in trace["spans"]:
            yield span, trace.get("processes") or {}


def from_jaeger(span: Mapping[str, Any], processes: Mapping[str, Any]) -> SpanRecord:
    """Give the record of one span of a download. Raises ValueError, TypeError or KeyError for what is none."""
    tags = _tags(span.get("tags"))
    process = processes.get(span.get("processID") or "") or span.get("process") or {}
    start = int(span["startTime"]) * 1_000
    parent, links = _references(span)
    return SpanRecord(
        trace_id=_identifier(span["traceID"], 32),
        span_id=_identifier(span["spanID"], 16),
        parent_span_id=parent,
        name=str(span.get("operationName") or ""),
        kind=_KINDS.get(str(tags.get("span.kind")), "INTERNAL"),
        start_ns=start,
        end_ns=start + int(span.get("duration") or 0) * 1_000,
        status=_status(tags),
        status_description=cast("str | None", tags.get("otel.status_description")),
        attributes={
            key: value for key, value in tags.items() if key not in (*_FIELDS, *_SCOPE_NAMES, *_SCOPE_VERSIONS)
        },
        events=tuple(map(_event, span.get("logs") or ())),
        links=links,
        scope_name=next((str(tags[name]) for name in _SCOPE_NAMES if name in tags), None),
        scope_version=next((str(tags[name]) for name in _SCOPE_VERSIONS if name in tags), None),
        resource={"service.name": process.get("serviceName", ""), **_tags(process.get("tags"))},
    )


def _status(tags: Mapping[str, Any]) -> Status:
    said = str(tags.get("otel.status_code", "")).upper()
    if said == "OK":
        return "OK"
    return "ERROR" if said == "ERROR" or tags.get("error") is True else "UNSET"


def _references(span: Mapping[str, Any]) -> tuple[str | None, tuple[LinkRecord, ...]]:
    parent = _identifier(span["parentSpanID"], 16) if span.get("parentSpanID") else None
    links = []
    for reference in span.get("references") or ():
        trace_id, span_id = _identifier(reference["traceID"], 32), _identifier(reference["spanID"], 16)
        if reference.get("refType") == "CHILD_OF" and parent is None and trace_id == _identifier(span["traceID"], 32):
            parent = span_id
        else:
            links.append(LinkRecord(trace_id=trace_id, span_id=span_id))
    return parent, tuple(links)


def _event(log: Mapping[str, Any]) -> EventRecord:
    fields = _tags(log.get("fields"))
    name = str(fields.pop("event", ""))
    return EventRecord(name=name, time_ns=int(log["timestamp"]) * 1_000, attributes=fields)


def _tags(tags: Any) -> dict[str, Any]:
    return {str(tag["key"]): _value(tag) for tag in tags or ()}


def _value(tag: Mapping[str, Any]) -> Any:
    """Read a tag's value, which has a type of its own: numbers may come as text."""
    kind, value = tag.get("type"), tag.get("value")
    if kind == "int64":
        return int(value or 0)
    if kind == "float64":
        return float(value or 0)
    return value is True or value == "true" if kind == "bool" else value


def _identifier(said: str, digits: int) -> str:
    identifier = str(said).lower().rjust(digits, "0")
    if len(identifier) != digits or not int(identifier, 16):
        raise ValueError(f"id {said!r} is not {digits} hex digits")
    return identifier


def services(url: str) -> list[str]:
    """Give the services that a Jaeger knows."""
    return [str(name) for one in _answers(f"{_base(url)}/api/v3/services") for name in one.get("services") or ()]


def trace(url: str, trace_id: str) -> list[Mapping[str, Any]]:
    """Give one trace as OTLP/JSON requests."""
    return _answers(f"{_base(url)}/api/v3/traces/{quote(trace_id, safe='')}")


def traces(url: str, service: str, since: datetime, until: datetime | None = None) -> list[Mapping[str, Any]]:
    """Give the traces of a service that began between two times, at most MOST_TRACES, as OTLP/JSON requests."""
    end = until or datetime.now(UTC)
    asked = {
        "query.service_name": service,
        "query.start_time_min": since.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "query.start_time_max": end.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        # Its name in older versions, and in newer ones.
        "query.num_traces": str(MOST_TRACES),
        "query.search_depth": str(MOST_TRACES),
    }
    return _answers(f"{_base(url)}/api/v3/traces?{urlencode(asked)}")


def _base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.password is not None:
        # Not repeated: a password may be in it, which could not be used anyway.
        raise JaegerError("that is no address of a Jaeger: give http://host:16686, without user and password")
    return url.rstrip("/")


def _answers(url: str) -> list[Mapping[str, Any]]:
    """Ask; the answer is one JSON object, or several, one after the other."""
    try:
        with urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 # _base lets only http and https through
            text = answer.read().decode()
    except HTTPError as error:
        if error.code == 404:  # noqa: PLR2004 # HTTP's own number
            return []
        raise JaegerError(f"{url} answers {error.code} {error.reason}; is it Jaeger's query port (16686)?") from error
    except HTTPException as error:
        raise JaegerError(f"{url} answers no HTTP ({error!r}); is it Jaeger's query port (16686)?") from error
    except (URLError, OSError, UnicodeDecodeError) as error:
        raise JaegerError(f"{url} cannot be read: {getattr(error, 'reason', error)}; is Jaeger up there?") from error
    found: list[Mapping[str, Any]] = []
    decoder, at = json.JSONDecoder(), _blank(text, 0)
    while at < len(text):
        try:
            content, at = decoder.raw_decode(text, at)
        except ValueError as error:
            raise JaegerError(f"{url} answers no JSON ({error}); is it Jaeger's query port (16686)?") from error
        at = _blank(text, at)
        if isinstance(content, Mapping):
            found.append(content)
    return found


def _blank(text: str, at: int) -> int:
    """Give where the next value begins."""
    blank = _BLANK.match(text, at)
    return at if blank is None else blank.end()
