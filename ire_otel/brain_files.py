"""What lies in the brain folder: trace files, review files, reports, and what a crash may have left there."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ire_otel import reader
from ire_otel.errors import ConfigurationError, RowRefusedError, TraceFileError
from ire_otel.locations import LATE
from ire_otel.model import TraceDocument
from ire_otel.report import is_markdown
from ire_otel.reviews import FOLDER as REVIEWS
from ire_otel.row import Row, row
from ire_otel.settings import Settings

TRACES: Final = "_traces"
SUFFIX: Final = ".json"
TEMPORARY: Final = ".tmp"
IN_FLIGHT: Final = 60.0
"""Seconds for which a temporary file may belong to a write that goes on."""


def projects(chosen: Settings, project: str | None = None) -> list[Path]:
    """Give the folders of all projects, or of one. Raises ConfigurationError where there is none."""
    if project is not None:
        folder = chosen.project_dir(project)
        if not folder.is_dir():
            raise ConfigurationError(f"no project {project!r} in {chosen.brain_dir}: check its name, and brain_dir")
        return [folder]
    folder = chosen.brain_dir / "projects"
    if not folder.is_dir():
        raise ConfigurationError(f"no folder {folder}: check brain_dir, or trace a run first (`ire-otel demo`)")
    return sorted(entry for entry in folder.iterdir() if entry.is_dir())


def trace_files(chosen: Settings, project: str | None = None) -> Iterator[Path]:
    """Give the trace files, project by project, by trace_id, so mostly oldest first.

    What a file is called is held in memory for one project at a time, and nothing else.
    """
    for folder in projects(chosen, project):
        for name in _names(folder / TRACES):
            if _is_trace_file(name):
                yield folder / TRACES / name


def review_files(chosen: Settings, project: str | None = None) -> Iterator[Path]:
    """Give the files of what people said, named after the runs that it is about."""
    for folder in projects(chosen, project):
        for name in _names(folder / REVIEWS):
            if name.endswith(".jsonl"):
                yield folder / REVIEWS / name


def document(path: Path) -> TraceDocument:
    """Read a trace file. Raises TraceFileError, also where it is named after another run than it holds."""
    try:
        read = reader.decode(path.read_bytes(), str(path))
    except OSError as error:
        raise TraceFileError(f"{path} cannot be read: {error.strerror}; mend its permissions") from error
    if read.trace_id != path.stem:
        raise TraceFileError(f"{path} holds run {read.trace_id[:100]!r}: rename it after its run, or remove it")
    return read


def document_and_row(chosen: Settings, path: Path) -> tuple[TraceDocument, Row]:
    """Read a trace file, and make the rows that it asks for. Raises TraceFileError and RowRefusedError."""
    read = document(path)
    try:
        return read, row(read, chosen.location(path), chosen.jaeger_link(read.metadata.otel_trace_id))
    except RowRefusedError:
        raise
    except Exception as error:
        # One odd file must not keep all others from being looked at.
        raise TraceFileError(f"{path} cannot be made a row ({type(error).__name__}: {error}); mend the file") from error


def reports(chosen: Settings, project: str | None = None) -> Iterator[Path]:
    """Give the Markdown files of the projects, outside of ire-otel's own folders."""
    for path in _files(chosen, project):
        if is_markdown(path) and not path.name.startswith("."):
            yield path


def late_files(chosen: Settings, project: str | None = None) -> Iterator[Path]:
    """Give the files of what came too late to be assembled, beside the trace files of their runs."""
    for folder in projects(chosen, project):
        for name in _names(folder / TRACES):
            if name.endswith(LATE):
                yield folder / TRACES / name


def strays(chosen: Settings, project: str | None = None) -> Iterator[Path]:
    """Give what a crash left: temporary files older than IN_FLIGHT, and what else is no trace file among those."""
    for folder in projects(chosen, project):
        for name in _names(folder / TRACES):
            path = folder / TRACES / name
            known = _is_trace_file(name) or name.endswith(LATE)
            if not known and (not name.endswith(TEMPORARY) or _is_left(path)):
                yield path
    for path in _files(chosen, project):
        if path.name.startswith(".") and path.name.endswith(TEMPORARY) and _is_left(path):
            yield path


def exists(path: str | Path) -> bool:
    """Tell whether there is a file; what cannot be a path (too long, with a NUL), as a run may name one, is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _files(chosen: Settings, project: str | None) -> Iterator[Path]:
    """Give the files of the projects outside of folders that begin with an underscore."""
    for folder in projects(chosen, project):
        for place, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("_"))
            yield from (Path(place) / name for name in sorted(names))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return []


def _is_trace_file(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")


def _is_left(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > IN_FLIGHT
    except OSError:
        return False  # renamed in the meantime: its write is done
