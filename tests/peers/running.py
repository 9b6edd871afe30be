"""The real Collector and the real Jaeger, run as docker-compose.yml runs them, on ports of their own."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import msgspec
import pytest

from tests.databases import free_port

ROOT: Final = Path(__file__).parent.parent.parent
CONFIG: Final = ROOT / "collector-config.yaml"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ire-otel" / "peers"
COLLECTOR: Final = CACHE / "otelcol"
JAEGER: Final = CACHE / "jaeger"
PATIENCE: Final = 60.0
"""Seconds that a process has until it is ready."""


def _missing() -> str | None:
    for binary in (COLLECTOR, JAEGER):
        if not os.access(binary, os.X_OK):
            return f"{binary} is not there: tests/peers/build.sh builds it, with Go"
    return None if CONFIG.is_file() else "collector-config.yaml is not there: these tests need the checkout"


needs_peers: Final = pytest.mark.skipif(_missing() is not None, reason=_missing() or "all there")


class Peer:
    """A running process."""

    def __init__(self, command: list[str | Path], environment: Mapping[str, str], health: str, log: Path) -> None:
        """health: address that answers 200 once it is ready."""
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
            )
        self._log = log
        deadline = time.monotonic() + PATIENCE
        while not _answers(health):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"{command[0]} did not become ready: {self.said[-3000:]}")
            time.sleep(0.05)

    @property
    def said(self) -> str:
        """What it logged so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it gracefully, and at last by force."""
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()


class Collector:
    """Where a Collector is reached."""

    def __init__(self, folder: Path, targets: Mapping[str, str], *overlays: Path) -> None:
        """folder: of its queues; targets: SERVE_ENDPOINT, JAEGER_ENDPOINT and the token; overlays: further files."""
        ports = [free_port() for _ in range(4)]
        self.grpc, self.http, self.health = (f"127.0.0.1:{port}" for port in ports[:3])
        self.metrics = f"http://127.0.0.1:{ports[3]}/metrics"
        self._environment = {
            "COLLECTOR_GRPC_ENDPOINT": self.grpc,
            "COLLECTOR_HTTP_ENDPOINT": self.http,
            "COLLECTOR_HEALTH_ENDPOINT": self.health,
            "COLLECTOR_METRICS_HOST": "127.0.0.1",
            "COLLECTOR_METRICS_PORT": str(ports[3]),
            "COLLECTOR_STORAGE": str(folder),
            **targets,
        }
        self._command: list[str | Path] = [COLLECTOR]
        for file in (CONFIG, *overlays):
            self._command += ["--config", file]
        self._log = folder.with_name(f"{folder.name}.log")
        self.start()

    def start(self) -> None:
        """Start it, again after a kill."""
        self.peer = Peer(self._command, self._environment, f"http://{self.health}", self._log)


@contextmanager
def collecting(folder: Path, targets: Mapping[str, str], *overlays: Path) -> Iterator[Collector]:
    """Run a Collector while the block runs; as Collector takes it."""
    running = Collector(folder, targets, *overlays)
    try:
        yield running
    finally:
        running.peer.stop()


class Jaeger:
    """A running Jaeger and its query API."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(4)]
        self.otlp, http, grpc, health = (f"127.0.0.1:{port}" for port in ports)
        self.url = f"http://{http}"
        environment = {
            "JAEGER_OTLP_ENDPOINT": self.otlp,
            "JAEGER_HTTP_ENDPOINT": http,
            "JAEGER_GRPC_ENDPOINT": grpc,
            "JAEGER_HEALTH_ENDPOINT": health,
            "JAEGER_UI_CONFIG": str(ROOT / "deploy/jaeger/ui.json"),
        }
        command: list[str | Path] = [JAEGER, "--config", ROOT / "deploy/jaeger/config.yaml"]
        self.peer = Peer(command, environment, f"http://{health}/status", folder / "jaeger.log")

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """Give the spans of a trace, in Jaeger's own JSON; none where it does not know the trace."""
        return [span for trace in self._ask(f"/api/traces/{trace_id}") for span in trace["spans"]]

    def search(self, service: str, tags: Mapping[str, str]) -> set[str]:
        """Give the ids of the traces that have a span with all of these tags."""
        asked = {"service": service, "limit": "1000", "lookback": "1h", "tags": msgspec.json.encode(tags).decode()}
        return {trace["traceID"] for trace in self._ask(f"/api/traces?{urlencode(asked)}")}

    def _ask(self, path: str) -> list[dict[str, Any]]:
        try:
            with urlopen(f"{self.url}{path}", timeout=30) as answer:  # noqa: S310 # a process of this test's
                found: list[dict[str, Any]] = msgspec.json.decode(answer.read())["data"] or []
                return found
        except HTTPError:  # 404: it does not know the trace, yet
            return []


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 # a process of this test's
            return bool(answer.status == 200)
    except OSError:
        return False
