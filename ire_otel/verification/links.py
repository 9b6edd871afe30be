"""Where reports and runs contradict each other, looked at from both sides."""

from collections.abc import Iterator
from pathlib import Path

from ire_otel import reader, report
from ire_otel.brain_files import SUFFIX, TRACES, exists, projects
from ire_otel.errors import TraceFileError
from ire_otel.model import TraceDocument
from ire_otel.report import ReportLinkError
from ire_otel.settings import Settings


def from_run(chosen: Settings, document: TraceDocument) -> Iterator[str]:
    """Give each contradiction between a run and the Markdown report that it names."""
    path = named_report(chosen, document)
    if path is None or not report.is_markdown(path):
        return
    try:
        other = report.trace_id_of(path) if exists(path) else None
        if other is None or other == document.trace_id or not _superseded(chosen, document, other, path):
            yield from report.differences(path, document)
    except (ReportLinkError, OSError, ValueError) as error:
        yield f"it names the report {str(path)[:200]!r}, which cannot be read ({error})"


def from_report(chosen: Settings, path: Path) -> Iterator[tuple[str, str]]:
    """Give the run that a report names, and why that cannot be, where it is not a run that names the report."""
    try:
        trace_id = report.trace_id_of(path)
    except ReportLinkError as error:
        yield str(path), str(error)
        return
    if trace_id is None:
        return
    document = _find(chosen, trace_id)
    if document is None:
        yield trace_id, f"report {path} names it, and it has no trace file"
    elif not _is_same(named_report(chosen, document), path):
        yield trace_id, f"report {path} names it, but it names {report.report_path(document) or 'no report'}"


def named_report(chosen: Settings, document: TraceDocument) -> Path | None:
    """Give the report that a run names; a relative path begins in the working directory, else beside brain_dir."""
    named = report.report_path(document)
    if named is None:
        return None
    beside = chosen.brain_dir.parent / named
    return beside if exists(beside) and not exists(named) else Path(named)


def _superseded(chosen: Settings, document: TraceDocument, trace_id: str, path: Path) -> bool:
    """Tell whether a later run wrote its own report in the same place."""
    other = _find(chosen, trace_id)
    return (
        other is not None
        and other.run.started_at >= document.run.started_at
        and _is_same(named_report(chosen, other), path)
    )


def _find(chosen: Settings, trace_id: str) -> TraceDocument | None:
    """Find the trace file of a run that a report names."""
    name = f"{trace_id}{SUFFIX}"
    if Path(name).name != name:
        return None
    for file in (folder / TRACES / name for folder in projects(chosen)):
        try:
            return reader.decode(file.read_bytes(), str(file))
        except (OSError, ValueError, TraceFileError):
            continue
    return None


def _is_same(named: Path | None, path: Path) -> bool:
    try:
        return named is not None and named.resolve() == path.resolve()
    except (OSError, ValueError):
        return False  # no path at all: too long, or with a NUL
