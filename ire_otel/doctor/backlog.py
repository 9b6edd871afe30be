"""What waits, was refused, or was left over."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from ire_otel import brain_files
from ire_otel.doctor.findings import Finding, Setup
from ire_otel.errors import ConfigurationError, JournalVersionError
from ire_otel.journal import spool
from ire_otel.journal.reading import JournalFolder, Summary
from ire_otel.left_over import UNCLAIMED
from ire_otel.locations import INBOX
from ire_otel.outbox import Outbox

SHOWN: Final = 5
"""Refused rows that are named one by one."""
RECOVER: Final = "run `ire-otel recover` (the next traced run does so, too)"


def check_journals(setup: Setup) -> Iterator[Finding]:
    """Look at the journals of processes that died, and of those that live."""
    about = "journals"
    live: list[Summary] = []
    left: list[Summary] = []
    living = 0
    for folder in spool.processes(setup.settings.state_dir):
        try:
            with JournalFolder(folder) as journals:
                unsealed = [log for log in journals.summaries if not log.sealed]
        except JournalVersionError as error:
            yield Finding(about=about, status="warning", what=str(error))
            continue
        except FileNotFoundError:
            continue  # its process took it away just now
        except OSError as error:
            what = f"{folder} cannot be read: {error.strerror}"
            yield Finding(about=about, status="problem", what=what, remedy="mend its permissions")
            continue
        if spool.is_live(folder):
            living += 1
            live += unsealed
        elif spool.settled_for(folder) is None:
            done = spool.done_in(folder)
            left += [log for log in unsealed if log.trace_id not in done]
    if left:
        what = f"{_counted(_runs(left), 'run')} of processes that died, {sum(log.bytes for log in left) / 1e6:.1f} MB"
        yield Finding(about=about, status="warning", what=f"{what}, not in file and row yet", remedy=RECOVER)
    what = f"{_counted(living, 'live process', 'live processes')}, {_counted(_runs(live), 'run')} not settled yet"
    yield Finding(about=about, status="ok", what=what if living else "no live process")


def check_outbox(setup: Setup) -> Iterator[Finding]:
    """Look at the rows that wait for their database, and at those that it refused."""
    about = "outbox"
    box = Outbox(setup.settings.state_dir)
    since = box.waiting_since()
    if since is None:
        yield Finding(about=about, status="ok", what="no row waits for its database")
    else:
        what = f"{_counted(len(box), 'row')} wait for the database, the first since {_moment(since)}"
        yield Finding(about=about, status="warning", what=what, remedy=RECOVER)
    refused = box.refused()
    for row in islice(refused, SHOWN):
        what = f"the row of run {row.trace_id} is refused: {row.reason}"
        remedy = "mend its trace file, then run `ire-otel db reindex`"
        yield Finding(about=about, status="warning", what=what, remedy=remedy)
    more = sum(1 for _ in refused)
    if more:
        yield Finding(about=about, status="warning", what=f"{more} more rows are refused: `ire-otel verify` names all")


def check_inbox(setup: Setup) -> Iterator[Finding]:
    """Look at the spans that `ire-otel serve` received, and whether it runs."""
    about = "inbox"
    folder = setup.settings.state_dir / INBOX
    try:
        held = sum(path.stat().st_size for path in folder.glob("*.spans"))
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield Finding(about=about, status="ok", what="nothing was received by `ire-otel serve`")
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        serving = False
    except OSError:
        serving = True
    finally:
        os.close(handle)
    what = f"`ire-otel serve` {'runs' if serving else 'does not run'}, {held / 1e6:.1f} MB of spans are kept"
    if held and not serving:
        remedy = "start it: runs among them may not be in file and row yet"
        yield Finding(about=about, status="warning", what=what, remedy=remedy)
    else:
        yield Finding(about=about, status="ok", what=what)


def check_leftovers(setup: Setup) -> Iterator[Finding]:
    """Look for what belongs to no run, or came too late for its own."""
    about = "leftovers"
    unclaimed = _files(setup.settings.state_dir / UNCLAIMED)
    if unclaimed:
        what = (
            f"{_counted(unclaimed, 'file')} in {setup.settings.state_dir / UNCLAIMED} of what belongs to no known run"
        )
        yield Finding(about=about, status="warning", what=what, remedy="look at them, and remove them")
    try:
        late = [path.name for path in brain_files.late_files(setup.settings)]
    except ConfigurationError:
        late = []  # no run yet
    if late:
        what = f"{_counted(len(late), 'file')} of what came too late for its document, e.g. {late[0]}"
        yield Finding(about=about, status="warning", what=what, remedy="`ire-otel verify` names them")
    if not unclaimed and not late:
        yield Finding(about=about, status="ok", what="nothing came too late, and nothing belongs to no run")


def _runs(logs: list[Summary]) -> int:
    return len({log.run_id or log.trace_id for log in logs})


def _files(folder: Path) -> int:
    try:
        return sum(1 for _ in folder.iterdir())
    except OSError:
        return 0


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _counted(number: int, noun: str, nouns: str | None = None) -> str:
    return f"{number} {noun if number == 1 else nouns or f'{noun}s'}"
