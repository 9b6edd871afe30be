"""Whether the database can be used, and the folders be written."""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from ire_otel.db import migrate
from ire_otel.db.engine import database
from ire_otel.doctor.findings import Finding, Setup
from ire_otel.errors import ConfigurationError, StoreError

LITTLE: Final = 100 * 1024 * 1024
"""Bytes of free disk space below which it is time to make room."""
MOUNTS: Final = Path("/proc/mounts")
"""Which file systems are where; Linux has it."""
NETWORK: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "ncpfs"),
        *("fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.glusterfs", "fuse.davfs", "davfs"),
    }
)
"""File systems whose locks and mapped files are not those of a local disk."""


def check_database(setup: Setup) -> Iterator[Finding]:
    """Say whether the database can be reached, and whether it has the tables of this version."""
    about = "database"
    try:
        target = database(setup.settings.database_url, setup.settings.pooler)
        new = target.file is not None and not target.file.exists()
        found = None if new else migrate.current(target)
        known = found is None or migrate.is_known(found)
    except (ConfigurationError, StoreError) as error:
        yield Finding(about=about, status="problem", what=str(error))
        return
    remedy = "run `ire-otel db upgrade`"
    if found == migrate.HEAD:
        yield Finding(about=about, status="ok", what=f"{target.place} is at migration {found}, the newest")
    elif not known:
        what = f"{target.place} is at migration {found}, which this version does not know"
        yield Finding(about=about, status="problem", what=what, remedy="upgrade ire-otel")
    elif target.file is not None:
        what = "is not there yet" if new else f"is at migration {found or 'none'}"
        yield Finding(about=about, status="note", what=f"{target.place} {what}: the next run brings it to the newest")
    else:
        what = f"{target.place} is at migration {found or 'none'}, this version needs {migrate.HEAD}"
        yield Finding(about=about, status="problem", what=what, remedy=remedy)
    kind = None if target.file is None else network_file_system(_nearest(target.file))
    if kind is not None:
        what = f"{target.place} is on a network file system ({kind}), where SQLite cannot be shared safely"
        yield Finding(about=about, status="warning", what=what, remedy="name a local file, or Postgres")


def check_folders(setup: Setup) -> Iterator[Finding]:
    """Really write a file into each folder, and take it away again; look how much room there is."""
    for name in ("brain_dir", "state_dir"):
        folder: Path = getattr(setup.settings, name)
        there = _nearest(folder)
        if there.joinpath(*folder.relative_to(there).parts[:1]).is_file():
            yield Finding(about=name, status="problem", what=f"{folder} is, or is in, a file", remedy="name another")
            continue
        later = "" if there == folder else f" (not there yet: {there} is)"
        try:
            with _probe(there) as file:
                file.write(b"ire-otel")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            what = f"{name} {folder} cannot be written{later}: {error.strerror}"
            remedy = "mend its permissions, make room, or name another"
            yield Finding(about=name, status="problem", what=what, remedy=remedy)
            continue
        free = shutil.disk_usage(there).free
        what = f"{folder} can be written{later}; {free / 1e6:,.0f} MB free"
        if free < LITTLE:
            yield Finding(about=name, status="warning", what=what, remedy="make room on its disk")
        else:
            yield Finding(about=name, status="ok", what=what)


def check_state_dir(setup: Setup) -> Iterator[Finding]:
    """See whether journals work in state_dir: locks that hold, and files that can be mapped."""
    about, folder = "state_dir", setup.settings.state_dir
    there = _nearest(folder)
    kind = network_file_system(there)
    if kind is not None:
        what = f"{folder} is on a network file system ({kind}): journals there may not survive, nor locks hold"
        yield Finding(about=about, status="warning", what=what, remedy="name a folder on a local disk")
    try:
        with _probe(there) as file:
            holds = _lock_holds(file)
            _map(file)
    except OSError as error:
        what = f"no journal can be made in {folder}: {error.strerror}"
        yield Finding(about=about, status="problem", what=what, remedy="name a folder on a local disk")
        return
    if not holds:
        what = f"locks (flock) in {folder} hold nobody off: processes that live would be taken for dead"
        yield Finding(about=about, status="problem", what=what, remedy="name a folder on a local disk")
    elif kind is None:
        yield Finding(about=about, status="ok", what="locks hold there, and files can be mapped")


def network_file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Give the type of the network file system that `path` is on; None where it is on none, or nobody knows."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    resolved = path.resolve()
    deepest, found = 0, ""
    for line in lines:
        _, place, kind, *_ = [*line.split(" "), "", "", ""]
        point = Path(_unescaped(place))
        # The last of several that are mounted in one place hides the others.
        if resolved.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, found = len(point.parts), kind
    return found if found in NETWORK else None


def _unescaped(place: str) -> str:
    """Read a path as /proc/mounts spells it: blanks and the like are octal."""
    for sign in " \t\n\\":
        place = place.replace(f"\\{ord(sign):03o}", sign)
    return place


def _nearest(path: Path) -> Path:
    """Give the folder, or the nearest one above that is there."""
    return next((above for above in (path, *path.parents) if above.is_dir()), Path("/"))


def _probe(folder: Path) -> IO[bytes]:
    return tempfile.NamedTemporaryFile(dir=folder, prefix=".ire-otel-doctor-")


def _lock_holds(file: IO[bytes]) -> bool:
    """Take a lock, and see whether somebody else could take it, too."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    other = os.open(file.name, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(other)
    return False


def _map(file: IO[bytes]) -> None:
    """Do with a file what a journal does with its own."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, mmap.PAGESIZE)
    else:  # macOS
        os.write(file.fileno(), bytes(mmap.PAGESIZE))
    with mmap.mmap(file.fileno(), mmap.PAGESIZE) as whole:
        whole[:8] = b"ire-otel"
