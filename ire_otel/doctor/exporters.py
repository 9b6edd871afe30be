"""Whether there is what `exporters` names, and whether it answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ire_otel.doctor.findings import Finding, Setup, Status
from ire_otel.errors import ConfigurationError

PATIENCE: Final = 2.0
"""Seconds that a collector has to answer."""
ENDPOINTS: Final = {
    "http/protobuf": "http://localhost:4318",
    "grpc": "http://localhost:4317",
}
"""Where OpenTelemetry looks for a collector where no variable names one."""
_BASE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_PORTS: Final = {"http": 80, "https": 443}


def check_exporters(setup: Setup) -> Iterator[Finding]:
    """Look for each exporter, load it, and knock at the collector of the OTLP ones."""
    from ire_otel.exporter_names import NO_EXPORTER, OWN_EXPORTER, find_exporter

    chosen = setup.settings
    names = [name for name in chosen.exporters if name != NO_EXPORTER]
    if OWN_EXPORTER not in names:
        yield _said("note", "`ire` is not among them: runs get no trace file and no row", "add ire to exporters")
    for name in names:
        try:
            entry_point = find_exporter(name, chosen)
        except ConfigurationError as error:
            yield _said("problem", str(error))
            continue
        try:
            entry_point.load()
        except Exception as error:  # noqa: BLE001 # an exporter of anybody's, which may fail in any way
            what = f"{name} ({entry_point.value}) cannot be loaded: {type(error).__name__}: {error}"
            yield _said("problem", what, "install it again, or take it out of exporters")
            continue
        yield _said("ok", f"{name} is {entry_point.value}")
        if entry_point.name.startswith("otlp"):
            yield _collector("grpc" if entry_point.name.endswith("grpc") else "http/protobuf", setup)


def _collector(protocol: str, setup: Setup) -> Finding:
    """Knock at the collector."""
    place = endpoint(protocol, setup)
    host, port = place.hostname, place.port or _PORTS.get(place.scheme, 443)
    if not host:
        return _said("note", f"{place.geturl()} names no host: whether it answers is not looked at")
    shown = f"{place.scheme}://{host}:{port}{place.path}"  # without user and password
    why = reach(host, port)
    if why is None:
        return _said("ok", f"{shown} answers (OTLP, {protocol})")
    remedy = f"start the collector, or set {_BASE} and otlp_protocol"
    return _said("problem", f"{shown} does not answer (OTLP, {protocol}): {why}; spans for it will be dropped", remedy)


def endpoint(protocol: str, setup: Setup) -> SplitResult:
    """Give the address that OpenTelemetry's OTLP exporter takes."""
    base = setup.variables.get(_BASE, "").strip() or ENDPOINTS[protocol]
    if protocol == "http/protobuf":
        base = f"{base.rstrip('/')}/v1/traces"
    chosen = setup.variables.get(_TRACES, "").strip() or base
    return urlsplit(chosen if "://" in chosen else f"http://{chosen}")


def reach(host: str, port: int) -> str | None:
    """Open a TCP connection; gives why that failed, None where it did not. Takes PATIENCE seconds at most."""
    outcome: list[str | None] = []

    def knock() -> None:
        try:
            socket.create_connection((host, port), PATIENCE).close()
            outcome.append(None)
        except (OSError, OverflowError, UnicodeError) as error:
            outcome.append(str(getattr(error, "strerror", None) or error))

    # On a thread: looking a name up knows no limit of time.
    knocking = threading.Thread(target=knock, daemon=True)
    knocking.start()
    knocking.join(PATIENCE)
    return outcome[0] if outcome else f"no answer within {PATIENCE:g} seconds"


def _said(status: Status, what: str, remedy: str | None = None) -> Finding:
    return Finding(about="exporters", status=status, what=what, remedy=remedy)
