"""Pydantic Logfire with the sink as its backend (`base_url`, as for a self-hosted one); a decision is a log line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import logfire  # pyright: ignore[reportMissingImports] # an optional peer

PACKAGES: Final = ("logfire", "opentelemetry-sdk")
RECOVERY: Final[tuple[str, ...]] = ()


def start(sink_url: str, folder: Path) -> None:
    # Logfire's own exporter, not a plain OTLP one: it batches faster and retries from disk.
    advanced = logfire.AdvancedOptions(base_url=sink_url)
    logfire.configure(send_to_logfire=True, token="local", advanced=advanced, console=False)  # noqa: S106 # the sink asks none


def run(number: int) -> Any:
    return logfire.span("run {number}", number=number)


def stage(name: str) -> Any:
    return logfire.span("stage {name}", name=name)


def decide(text: str) -> None:
    logfire.info("decision", why=text, confidence=0.8)


def carrier() -> Mapping[str, str]:
    return dict(logfire.get_context())


def attached(carrier: Mapping[str, str]) -> Any:
    return logfire.attach_context(carrier)


def flush() -> None:
    logfire.force_flush()


def kept(folder: Path, received: Mapping[int, str]) -> Mapping[int, str]:
    return received
