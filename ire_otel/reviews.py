"""What people say about runs: append-only files beside the trace files, so that no database has to remember it.

One file a run, `{brain_dir}/projects/{project}/_reviews/{trace_id}.jsonl`, one JSON object a line. A line is on the
disk before the row changes, and `read` gives them back.
"""

import fcntl
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from ire_otel import values
from ire_otel.errors import IreOtelError
from ire_otel.settings import Settings

FLAG: Final = "flag"
"""Kind of an entry that flags a run for review, or takes the flag off: `{"flagged": true}`."""
NOTE: Final = "note"
"""Kind of an entry with words about a run: `{"text": "…"}`."""
FOLDER: Final = "_reviews"

_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class ReviewError(IreOtelError):
    """A review cannot be written, or says nothing."""


def _now() -> str:
    return f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody said: one line of a file."""

    kind: str
    """What it is: FLAG, NOTE, or a kind that another part of ire-otel reads."""
    when: str = msgspec.field(default_factory=_now)
    """ISO 8601 UTC with microseconds."""
    who: str | None = None
    """Who said it, by whatever name they go by."""
    data: dict[str, Any] = {}
    """What was said; its keys depend on the kind."""


class ReviewFile(msgspec.Struct, frozen=True, kw_only=True):
    """What was said about one run."""

    entries: list[Entry]
    """Oldest first."""
    spoilt: list[int]
    """Numbers, from 1, of lines that are no entry: cut short by a crash, or edited."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the entries of one run amount to: the two columns of its row that people set."""

    flagged: bool = False
    notes: str | None = None
    """All notes, oldest first, an empty line between them."""


def review_file(settings: Settings, project: str | None, trace_id: str) -> Path:
    """Give the file of a run's reviews. Raises ReviewError where `trace_id` cannot name a file."""
    if not _SAFE_NAME.fullmatch(trace_id):
        raise ReviewError(f"trace_id {trace_id[:100]!r} cannot name a review file: letters, digits, . _ - only")
    return settings.project_dir(project) / FOLDER / f"{trace_id}.jsonl"


def append(settings: Settings, project: str | None, trace_id: str, entry: Entry) -> Path:
    """Write an entry to the end of a run's file, and return once it is on the disk. Any number may write at once.

    Raises ReviewError.
    """
    path = review_file(settings, project, trace_id)
    line = f"{values.dumps(msgspec.structs.asdict(entry))}\n".encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # What a crash or a full disk cut short must not swallow this line.
            file.write(line if _ends_whole(file.fileno()) else b"\n" + line)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        raise ReviewError(
            f"{path} cannot be written ({error.strerror}): nothing was changed; mend it, and repeat"
        ) from error
    return path


def entries(settings: Settings, project: str | None, trace_id: str) -> list[Entry]:
    """Give what was said about one run, oldest first; nothing where nobody said anything."""
    return read(review_file(settings, project, trace_id)).entries


def read(path: Path) -> ReviewFile:
    """Read a file of reviews; one that is not there says nothing. Raises ReviewError."""
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise ReviewError(f"{path} cannot be read: {error.strerror}; mend its permissions") from error
    said: list[Entry] = []
    spoilt = []
    for number, line in enumerate(lines, start=1):
        try:
            said.append(msgspec.json.decode(line, type=Entry))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            spoilt.append(number)  # the next line is whole again
    return ReviewFile(entries=said, spoilt=spoilt)


def standing(said: Iterable[Entry]) -> Standing:
    """Work out what the entries of one run, oldest first, amount to. Pure."""
    flagged, notes = False, None
    for entry in said:
        if entry.kind == FLAG:
            flagged = entry.data.get("flagged") is not False
        elif entry.kind == NOTE:
            notes = with_note(notes, str(entry.data.get("text", "")))
    return Standing(flagged=flagged, notes=notes)


def with_note(notes: str | None, text: str) -> str:
    """Give `notes` with another one at the end, as a row holds them. Pure."""
    return f"{notes}\n\n{text}" if notes else text


def _ends_whole(handle: int) -> bool:
    size = os.fstat(handle).st_size
    return size == 0 or os.pread(handle, 1, size - 1) == b"\n"


def _sync_folder(folder: Path) -> None:
    """Make sure that a new file's name is on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
