"""The link from a Markdown report to the run that made it; the way back is the run's `outputs.report_path`."""

import contextlib
import logging
import math
import os
import stat
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import UNSET

from ire_otel.model import TraceDocument
from ire_otel.report.splicing import ReportFacts, ReportLinkError, edited, frontmatter, with_frontmatter
from ire_otel.values import plain

__all__ = [
    "ReportFacts",
    "ReportLinkError",
    "differences",
    "edited_since",
    "facts_of",
    "frontmatter",
    "is_markdown",
    "link_output",
    "link_report",
    "report_path",
    "trace_id_of",
    "with_frontmatter",
]

logger: Final = logging.getLogger("ire_otel")


class LiveRun(Protocol):
    """A run that may still be open: an `ire_otel.Trace`."""

    @property
    def recording(self) -> bool:
        """False where the project is not traced."""
        ...

    def document(self) -> TraceDocument:
        """Give the document of what is recorded so far."""
        ...


def link_report(path: str | Path, trace: LiveRun | TraceDocument | ReportFacts) -> bool:
    """Write into the Markdown report at `path` which run made it; True if the file had to be changed.

    trace: the run, open or ended; or its document; or the facts alone. While a run has no end, `generated_at` is the
    time of the first link. The file is replaced whole or not at all, and keeps its mode. The way from the run to the
    report is `outputs.report_path`.

    Raises ReportLinkError, which names file and reason; for a live run that is a log record instead, because tracing
    must never break the run it watches. Where the project is not traced nothing happens.

        with ire_otel.run(query, project_name="cobot") as trace:
            ...
            path.write_text(report)
            trace.set_outputs({"report_path": str(path)})
            ire_otel.link_report(path, trace)
    """
    if isinstance(trace, TraceDocument | ReportFacts):
        return _link(Path(path), facts_of(trace) if isinstance(trace, TraceDocument) else trace)
    try:
        return trace.recording and _link(Path(path), facts_of(trace.document()))
    except Exception as error:  # noqa: BLE001 # as the docstring says
        logger.warning("%s; the run goes on", error)
        return False


def link_output(document: TraceDocument, *, again: bool = False) -> bool:
    """Link the Markdown report that `document` names, where that file exists; True if it had to be changed.

    A report that belongs to another run, unedited, is left alone. again: the run was written before; then a report that
    was edited since is left alone too, so that its hash goes on saying so. Raises ReportLinkError.
    """
    path = Path(report_path(document) or "")
    if not is_markdown(path) or not path.is_file():
        return False
    data = _read(path)
    named = frontmatter(data).get("trace_id")
    own, changed = named == document.trace_id, edited(data)
    if (own and not changed) if again else (own or changed or named is None):
        return _link(path, facts_of(document))
    return False


def facts_of(document: TraceDocument) -> ReportFacts:
    """Give what a report says of the run of `document`."""
    gate = document.gate
    score = None if gate is None or gate.overall_score is UNSET else gate.overall_score
    passed = None if gate is None or gate.passing is UNSET else gate.passing
    return ReportFacts(
        trace_id=document.trace_id,
        generated_at=_in_seconds(document.run.completed_at),
        quality_score=score if score is not None and math.isfinite(score) else None,
        quality_gate=None if passed is None else "passed" if passed else "failed",
    )


def report_path(document: TraceDocument) -> str | None:
    """Give the path of the report as the run named it in `outputs.report_path`."""
    named = plain(document.outputs.get("report_path"))
    return named if isinstance(named, str) and named else None


def is_markdown(path: Path) -> bool:
    """Tell by its name whether a file takes frontmatter."""
    return path.suffix.lower() in {".md", ".markdown"}


def trace_id_of(path: str | Path) -> str | None:
    """Give the trace_id of the run that made the report at `path`; None where the report names none.

    Raises ReportLinkError where the file cannot be read.
    """
    named = frontmatter(_read(Path(path))).get("trace_id")
    return None if named is None else str(named)


def edited_since(path: str | Path) -> bool:
    """Tell whether the body of the report at `path` is another than when it was linked; False if it never was.

    Raises ReportLinkError where the file cannot be read.
    """
    return edited(_read(Path(path)))


def differences(path: str | Path, document: TraceDocument) -> list[str]:
    """Give, in a sentence each, where the report at `path` and the run of `document` contradict each other.

    A report that names no run was never linked, which is no contradiction. Raises ReportLinkError where the file is
    there but cannot be read.
    """
    path, named, run = Path(path), report_path(document), f"run {document.trace_id}"
    found = []
    if named is None or not _same_file(path, Path(named)):
        found.append(f"{run} names {f'the report {named}' if named else 'no report'}, not {path}")
    if not path.is_file():
        return [*found, f"report {path} of {run} is not there"]
    data = _read(path) if is_markdown(path) else b""
    said, facts = frontmatter(data), facts_of(document)
    if said.get("trace_id", facts.trace_id) != facts.trace_id:
        return [*found, f"report {path} names run {said['trace_id']}, not {document.trace_id}"]
    if "trace_id" not in said:
        return found
    for key, right in (("quality_score", facts.quality_score), ("quality_gate", facts.quality_gate)):
        if said.get(key) != right:
            found.append(f"report {path} says {key} {said.get(key)}, {run} says {right}")
    if edited(data):
        found.append(f"report {path} was edited after {run} was traced")
    return found


def _same_file(path: Path, named: Path) -> bool:
    """Tell whether a run's `named` report is `path`; a relative one may be from another working directory."""
    return path.resolve() == named.resolve() or (
        not named.is_absolute() and path.absolute().parts[-len(named.parts) :] == named.parts
    )


def _in_seconds(stamp: str | None) -> str | None:
    try:
        moment = datetime.fromisoformat(stamp) if stamp else None
    except ValueError:
        return stamp
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _link(path: Path, facts: ReportFacts) -> bool:
    def change(data: bytes) -> bytes:
        said = frontmatter(data)
        linked = said.get("generated_at") if said.get("trace_id") == facts.trace_id else None
        at = facts.generated_at or str(linked or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        return with_frontmatter(data, msgspec.structs.replace(facts, generated_at=at))

    try:
        return _rewrite(path.resolve(strict=True), change)
    except ReportLinkError as error:
        raise ReportLinkError(f"cannot link {path} to run {facts.trace_id}: {error}") from error
    except OSError as error:
        reason = f"{error.strerror}; write the report first, in a folder that takes files"
        raise ReportLinkError(f"cannot link {path} to run {facts.trace_id}: {reason}") from error


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> bool:
    """Replace a file's content whole or not at all, keeping mode and owner; True if `change` changed it."""
    before = path.stat()
    data = path.read_bytes()
    changed = change(data)
    if changed == data:
        return False
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(changed)
            file.flush()
            with contextlib.suppress(PermissionError):  # only root gives files away
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
            os.fsync(file.fileno())
        untouched = _version(path.stat()) == _version(before)
        if untouched:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if not untouched:
        raise ReportLinkError("it was being written at the same time; link it again when it is whole")
    return True


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReportLinkError(f"cannot read the report {path}: {error.strerror}; check its path and mode") from error
