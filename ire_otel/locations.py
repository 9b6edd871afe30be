"""Names of folders and files. Pure."""

import hashlib
import re
from typing import Final

UNNAMED: Final = "unknown"
"""Folder of runs that name no project."""
INBOX: Final = "inbox"
"""Folder in state_dir of the spans that `ire-otel serve` received."""
LATE: Final = ".late.jsonl"
"""Ends the name of the file, beside the trace file, of what came too late to be assembled."""

_SAFE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MARKED: Final = re.compile(r".*-[0-9a-f]{8}")
_RESERVED: Final = frozenset({UNNAMED, "con", "prn", "aux", "nul"})
_RUN_ID: Final = re.compile(r"trc_\d{8}_[0-9a-f]{16}", re.ASCII)
_UNSAFE_RUN: Final = re.compile(r"[^\w.-]+")


def is_run_id(text: str) -> bool:
    """Tell whether this is a run's id as ire-otel makes them. One from outside must be, before it becomes a path."""
    return _RUN_ID.fullmatch(text) is not None


def project_folder(project: str | None) -> str:
    """Give a folder name that is safe everywhere, and that no two projects share.

    Plain lower-case names are kept. Any other is spelt with safe characters and marked with a digest of the name,
    because some file systems hold `Robots` and `robots`, or two spellings of `é`, to be the same.
    """
    if not project:
        return UNNAMED
    plain = _SAFE.fullmatch(project) and not project.endswith(".") and project not in _RESERVED
    if plain and not _MARKED.fullmatch(project):
        return project
    digest = hashlib.sha256(project.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    readable = _UNSAFE_RUN.sub("-", project.lower().encode("ascii", "ignore").decode()).strip(".-_")[:48]
    return f"{readable or 'project'}-{digest}"
