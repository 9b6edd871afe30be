"""Exporters by the names that OpenTelemetry knows them by."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final, cast

import msgspec

from ire_otel.errors import ConfigurationError
from ire_otel.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

EXPORTER_GROUP: Final = "opentelemetry_traces_exporter"
OWN_EXPORTER: Final = "ire"
NO_EXPORTER: Final = "none"
JSON_FILE_EXPORTER: Final = "otlp-json-file"


def with_usable_exporters(chosen: Settings, elsewhere: Collection[str]) -> tuple[Settings, list[ConfigurationError]]:
    """Leave out exporters that do not exist or do not load, and those that are at work elsewhere."""
    usable: list[str] = []
    problems: list[ConfigurationError] = []
    for name in chosen.exporters:
        try:
            if name not in (NO_EXPORTER, *elsewhere):
                found = find_exporter(name, chosen)
                if name != OWN_EXPORTER:  # that one is loaded by its worker, for it is heavy
                    loaded(name, found)
                usable.append(name)
        except ConfigurationError as problem:
            problems.append(problem)
    return msgspec.structs.replace(chosen, exporters=tuple(usable)), problems


def loaded(name: str, entry_point: EntryPoint) -> Callable[..., SpanExporter]:
    """Load an exporter's class. Raises ConfigurationError."""
    try:
        return cast("Callable[..., SpanExporter]", entry_point.load())
    except Exception as error:
        what = f"exporter {name!r} in exporters ({entry_point.value}) cannot be loaded"
        raise ConfigurationError(
            f"{what}: {type(error).__name__}: {error}; install it again, or take it out"
        ) from error


def find_exporter(name: str, chosen: Settings) -> EntryPoint:
    """Find an exporter by its OpenTelemetry name. Raises ConfigurationError with the nearest one."""
    wanted = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}[chosen.otlp_protocol]
    looked_up = wanted if name == "otlp" else name
    known = {entry_point.name: entry_point for entry_point in entry_points(group=EXPORTER_GROUP)}
    if looked_up in known:
        return known[looked_up]
    if name == "otlp":
        raise ConfigurationError("exporter 'otlp' in exporters needs an extra: pip install 'ire-otel[otlp]'")
    nearest = difflib.get_close_matches(name, [*known, "otlp", NO_EXPORTER], n=1)
    remedy = f"did you mean {nearest[0]!r}?" if nearest else f"installed are {', '.join(sorted(known))}"
    raise ConfigurationError(f"unknown exporter {name!r} in exporters: {remedy}")


def check_content(chosen: Settings) -> None:
    """See that every exporter with a content policy may have one. Raises ConfigurationError with the nearest name."""
    known = {"otlp", *chosen.exporters, *(entry_point.name for entry_point in entry_points(group=EXPORTER_GROUP))}
    for name in chosen.content:
        if name == OWN_EXPORTER:
            remedy = "trace files and rows always hold everything; take this line out"
        elif name in known:
            continue
        else:
            nearest = difflib.get_close_matches(name, known - {OWN_EXPORTER, NO_EXPORTER}, n=1)
            remedy = f"did you mean {nearest[0]!r}?" if nearest else "no such exporter is installed"
        raise ConfigurationError(f"exporter {name!r} in content has no policy: {remedy}")
