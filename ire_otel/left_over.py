"""Spans that went into no document: they are kept in files of their own, one span a line, each line once."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from ire_otel.locations import LATE
from ire_otel.records import SpanRecord

UNCLAIMED: Final = "unclaimed"
"""Folder in state_dir of what belongs to no run that this machine knows, or to one that cannot be assembled."""


def beside(trace_file: Path) -> Path:
    """Give the file of what came too late for a trace file."""
    return trace_file.with_name(f"{trace_file.stem}{LATE}")


def unclaimed(state_dir: Path, otel_trace_id: str) -> Path:
    """Give the file of what belongs to no run in an OpenTelemetry trace."""
    return state_dir / UNCLAIMED / f"{otel_trace_id}.jsonl"


def keep(path: Path, records: Iterable[SpanRecord]) -> None:
    """Append spans to a file, those that it does not hold yet. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = path.read_bytes() if path.exists() else b""
    there = set(held.splitlines())
    lines = [line for line in map(msgspec.json.encode, records) if line not in there]
    with path.open("ab") as file:
        if not held.endswith(b"\n") and held:
            file.write(b"\n")  # a full disk tore its last line, which must not take the next one with it
        file.writelines(line + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
