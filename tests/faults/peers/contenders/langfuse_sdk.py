"""Langfuse's SDK with the sink as its host; a decision is an observation of the type `event`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import langfuse  # pyright: ignore[reportMissingImports] # an optional peer

from tests.faults.peers.contenders import otel_batch

PACKAGES: Final = ("langfuse", "opentelemetry-sdk")
RECOVERY: Final[tuple[str, ...]] = ()

# Langfuse documents OpenTelemetry's own propagation for other processes.
carrier = otel_batch.carrier
attached = otel_batch.attached


def start(sink_url: str, folder: Path) -> None:
    langfuse.Langfuse(public_key="local", secret_key="local", host=sink_url)  # noqa: S106 # the sink asks none


def run(number: int) -> Any:
    return langfuse.get_client().start_as_current_observation(name="run", metadata={"number": number})


def stage(name: str) -> Any:
    return langfuse.get_client().start_as_current_observation(name=name)


def decide(text: str) -> None:
    langfuse.get_client().create_event(name="decision", output={"why": text, "confidence": 0.8})


def flush() -> None:
    langfuse.get_client().flush()


def kept(folder: Path, received: Mapping[int, str]) -> Mapping[int, str]:
    return received
