"""The spool: one folder a process for its journals, a lock that says whether the process lives, and who shares a trace.

{state_dir}/journals/<pid>-<process>-<n>/lock          held (flock) as long as the process lives
{state_dir}/journals/<pid>-<process>-<n>/0000.arena    its journals
{state_dir}/traces/<OpenTelemetry trace id>/<pid>-<process>-<n>    it takes part in a run that another began
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import math
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ire_otel.journal.arena import Arenas
from ire_otel.journal.writing import Journal
from ire_otel.recording.process import identity

logger = logging.getLogger("ire_otel")

JOURNALS: Final = "journals"
TRACES: Final = "traces"
LOCK: Final = "lock"
SETTLED: Final = "settled"
DONE: Final = "done"
_UNFINISHED: Final = ".new-"
"""Begins the name of a folder whose lock is not taken yet."""
_PAUSE: Final = 10.0
"""Seconds after which a folder that could not be made is tried again."""
_UNFINISHED_FOR: Final = 60.0
"""Seconds after which such a folder is left over from a process that died in between."""

_spools = itertools.count()


class Spool:
    """The journals of this process. A forked child makes a spool of its own and abandons this one."""

    def __init__(self, state_dir: Path) -> None:
        """Nothing is made before the first journal."""
        self.state_dir = state_dir
        self.process = identity.id
        self.folder = state_dir / JOURNALS / f"{os.getpid()}-{self.process}-{next(_spools)}"
        self._arenas = Arenas(self.folder)
        self._lock_handle: int | None = None
        self._opening = threading.Lock()
        self._keys = itertools.count()
        self._journals: set[Journal] = set()
        self._try_again = 0.0

    def journal(self) -> Journal | None:
        """Begin a journal for a log; None where the folder cannot be made, which is said once."""
        if not self._open():
            return None
        journal = Journal(self._arenas, str(next(self._keys)))
        self._journals.add(journal)
        return journal

    def prepare(self) -> None:
        """See to it that slots wait for the next runs."""
        if self._open():
            with suppress(OSError):  # whoever needs one says so
                self._arenas.prepare()

    def release(self, journal: Journal, position: tuple[int, int] | None = None) -> bool:
        """Give the slots of a journal back: all that it holds (up to `position`, else False) is safe elsewhere."""
        released = journal.release(position)
        if released:
            self._journals.discard(journal)
        return released

    def _open(self) -> bool:
        with self._opening:
            if self._lock_handle is None and time.monotonic() >= self._try_again:
                try:
                    self._lock_handle = _locked_folder(self.folder)
                except OSError as error:
                    self._try_again = time.monotonic() + _PAUSE
                    reason = f"{self.folder.parent}: {error.strerror}"
                    logger.error("no journal in %s; runs are not safe from the death of the process", reason)  # noqa: TRY400 # one line
            return self._lock_handle is not None

    def take_part(self, trace_id: str) -> None:
        """Say that this process has a log of a trace that another process began. Raises OSError."""
        folder = self.state_dir / TRACES / trace_id
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / self.folder.name).touch(mode=0o600)

    def done_with(self, trace_id: str) -> None:
        """Take that back: what this process recorded of the trace is in file and row."""
        done_with(self.state_dir, trace_id, self.folder.name)

    def close(self, *, settled: bool) -> None:
        """Let go of the folder. It stays where a journal in it is not released; settled: all of them are sealed."""
        with self._opening:
            handle, self._lock_handle, self._try_again = self._lock_handle, None, math.inf
        if handle is not None:
            self._arenas.close()
            if all(journal.size == 0 for journal in self._journals):
                shutil.rmtree(self.folder, ignore_errors=True)
            elif settled:
                mark_settled(self.folder)
            os.close(handle)

    def abandon(self) -> None:
        """In a forked child: let go of the parent's folder without a trace, its lock above all."""
        self._opening = threading.Lock()
        handle, self._lock_handle, self._try_again = self._lock_handle, None, math.inf
        if handle is not None:
            os.close(handle)
        for journal in tuple(self._journals):
            journal.abandon()


def processes(state_dir: Path) -> list[Path]:
    """Give the folders of all processes that have journals, live ones too, the oldest first."""
    try:
        folders = [path for path in (state_dir / JOURNALS).iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
    return sorted((path for path in folders if path.is_dir()), key=_modified)


def is_live(folder: Path) -> bool:
    """Tell whether the process of a folder lives, or its journals are being recovered just now."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        _unlock(handle)
    return False


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Hold the folder of a process that died; gives False where it lives, or another recovery holds it."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        yield _lock_now(handle) and _is_at(handle, folder / LOCK)
    finally:
        _unlock(handle)


def mark_settled(folder: Path) -> None:
    """Say that everything in a folder is in file and row, so that it only waits for late spans."""
    with suppress(OSError):
        (folder / SETTLED).touch(mode=0o600)


def mark_done(folder: Path, trace_id: str) -> None:
    """Say that what a process which died recorded of a trace is in file and row. Raises OSError."""
    with (folder / DONE).open("a", encoding="ascii") as file:
        file.write(f"{trace_id}\n")


def done_in(folder: Path) -> set[str]:
    """Give the traces of which that was said."""
    try:
        return set((folder / DONE).read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return set()


def settled_for(folder: Path) -> float | None:
    """Give the seconds since that was said of a folder; None where it was not."""
    try:
        return time.time() - (folder / SETTLED).stat().st_mtime
    except OSError:
        return None


def shared(state_dir: Path) -> set[str]:
    """Give the traces in which processes take part that did not begin them."""
    try:
        return {path.name for path in (state_dir / TRACES).iterdir()}
    except OSError:
        return set()


def participants(state_dir: Path, trace_id: str) -> list[Path]:
    """Give the folders of the processes that take part in a trace which another process began."""
    try:
        names = sorted(path.name for path in (state_dir / TRACES / trace_id).iterdir())
    except OSError:
        return []
    return [state_dir / JOURNALS / name for name in names]


def done_with(state_dir: Path, trace_id: str, process: str) -> None:
    """Take back that a process takes part in a trace."""
    folder = state_dir / TRACES / trace_id
    with suppress(OSError):
        (folder / process).unlink(missing_ok=True)
        folder.rmdir()  # refused while others take part


def remove_unfinished(state_dir: Path) -> None:
    """Take away what processes left that died before they had recorded anything."""
    for path in (state_dir / JOURNALS).glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - _modified(path) > _UNFINISHED_FOR:
                shutil.rmtree(path)


def _locked_folder(folder: Path) -> int:
    """Make a folder whose lock is held from the moment that others can see it. Raises OSError."""
    unfinished = folder.with_name(f"{_UNFINISHED}{folder.name}")
    unfinished.parent.parent.mkdir(parents=True, exist_ok=True)
    unfinished.parent.mkdir(mode=0o700, exist_ok=True)
    unfinished.mkdir(mode=0o700)
    handle = os.open(unfinished / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unfinished.rename(folder)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _lock_now(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            raise
        return False
    return True


def _unlock(handle: int) -> None:
    """Close a lock; closing alone unlocks nothing while a child that was forked in between has it open, too."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Tell whether the file is still there: whoever held the lock before may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
