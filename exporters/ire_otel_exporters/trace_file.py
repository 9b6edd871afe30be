"""The trace file: written whole or not at all."""

import os
import secrets
from pathlib import Path

from ire_otel import reader
from ire_otel.errors import TraceFileError


def write(path: Path, data: bytes, records: int) -> bool:
    """Write a trace document to `path`, unless one made from more records is there already; True if it was written.

    Temporary file in the same folder, fsync, rename: a reader sees the old file or the new one, whatever happens.
    Raises OSError.
    """
    if path.exists() and _records_in(path) > records:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return True


def _records_in(path: Path) -> int:
    try:
        return reader.decode(path.read_bytes(), str(path)).metadata.records
    except (TraceFileError, OSError):
        return 0  # what cannot be read is no document that a write could harm
