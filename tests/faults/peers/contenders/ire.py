"""ire-otel: a trace file a run, in the folder."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import ire_otel
from tests.faults.peers.contenders import otel_batch
from tests.faults.peers.work import numbers_in

PACKAGES: Final = ("ire-otel",)
RECOVERY: Final = ("ire-otel", "recover")

carrier = otel_batch.carrier
attached = otel_batch.attached


def start(sink_url: str, folder: Path) -> None:
    ire_otel.configure(brain_dir=folder / "brain")


def run(number: int) -> AbstractContextManager[Any]:
    return ire_otel.run(f"run {number}", project_name="peers")


def stage(name: str) -> AbstractContextManager[Any]:
    return ire_otel.stage(name)


def decide(text: str) -> None:
    ire_otel.decide("decision", what="chosen", why=text, confidence=0.8)


def flush() -> None:
    ire_otel.flush()


def kept(folder: Path, received: Mapping[int, str]) -> Mapping[int, str]:
    files = (folder / "brain" / "projects" / "peers" / "_traces").glob("*.json")
    return {number: file.stem for file in files for number in numbers_in(file.read_bytes())}
