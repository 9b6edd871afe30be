"""Writing the journals of a process that died anew, from records: without what must not be kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ire_otel import runlog
from ire_otel.journal.arena import SUFFIX, Arenas
from ire_otel.journal.reading import FoundLog
from ire_otel.journal.writing import Journal
from ire_otel.records import SpanRecord

_NAME: Final = "rewritten-"
"""Begins the names of the new files."""


def rewrite(folder: Path, logs: Iterable[tuple[FoundLog, Sequence[SpanRecord]]]) -> None:
    """Replace all journals in a folder, whose lock is held, by sealed ones of these records. Raises OSError.

    Whoever is killed in the middle leaves both, and the next one begins again.
    """
    old = [path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith(_NAME)]
    for path in folder.glob(f"{_NAME}*"):
        path.unlink()
    arenas = Arenas(folder, _NAME)
    for number, (log, records) in enumerate(logs):
        journal = Journal(arenas, f"{_NAME}{number}")
        header = log.header or runlog.Header(runlog.FORMAT_VERSION, log.run_id, log.trace_id or "", "", {})
        for line in runlog.lines_of(header, records):
            journal.write(line)
        journal.write(runlog.encode("sealed", time.time_ns()))
        if journal.broken:
            raise OSError(f"{folder} could not be written anew")
    arenas.close()
    for path in old:
        path.unlink()
