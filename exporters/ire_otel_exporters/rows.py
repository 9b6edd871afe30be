"""The rows of runs: into the database, or into the outbox until the database can take them."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from ire_otel import brain_files
from ire_otel.db.store import RunStore
from ire_otel.errors import RowRefusedError, StoreError, TraceFileError
from ire_otel.outbox import Outbox, Refused, Waiting
from ire_otel.row import Row
from ire_otel.settings import Settings

logger = logging.getLogger("ire_otel")

SAVED: Final = "saved"
BATCH: Final = 32
"""Most rows that are taken out of the outbox at once."""
FIRST_PAUSE: Final = 0.5
"""Seconds for which a database that failed is left alone; doubled each time, up to LAST_PAUSE."""
LAST_PAUSE: Final = 60.0

Result = dict[str, Any]
"""Fields of an ExportOutcome."""


class RowWriter:
    """Saves rows. A database that failed is left alone for a while, so that files do not wait for it."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened before the first row."""
        self._settings = settings
        self._store = RunStore(settings.database_url, settings.pooler)
        self._outbox = Outbox(settings.state_dir)
        self._draining: Iterator[Waiting] = iter(())
        self._pause = FIRST_PAUSE
        self._down_until = 0.0
        self.why_down = ""
        """What the database said when it failed last."""

    def save(self, rows: Sequence[Row]) -> dict[str, Result]:
        """Write rows; gives by trace_id what became of each."""
        if not rows:
            return {}
        if time.monotonic() < self._down_until:
            return {made.run.trace_id: self._queued(made, self.why_down) for made in rows}
        refused = self._tried(rows)
        if refused is None:
            return {made.run.trace_id: self._queued(made, self.why_down) for made in rows}
        return {
            made.run.trace_id: self.refused(made.run.trace_id, refused[made.run.trace_id])
            if made.run.trace_id in refused
            else {"row": SAVED, "settled": True}
            for made in rows
        }

    def save_live(self, rows: Sequence[Row]) -> None:
        """Write the rows of runs that go on. Where the database is down they are left out: the next ones are newer."""
        if rows and time.monotonic() >= self._down_until:
            self._tried(rows)

    def retry(self, *, now: bool = False) -> float | None:
        """Write some rows that wait; gives the seconds until the next time, None if none waits."""
        pause = self._down_until - time.monotonic()
        if pause > 0 and not now:
            return pause
        waiting = list(islice(self._draining, BATCH))
        if not waiting:
            self._draining = self._outbox.waiting()
            waiting = list(islice(self._draining, BATCH))
        if not waiting:
            return None
        rows = [made for one in waiting if (made := self._row_of(one)) is not None]
        if not rows:
            # Their files cannot be read just now.
            self._leave_alone()
            return self._down_until - time.monotonic()
        refused = self._tried(rows)
        if refused is None:
            self._draining = iter(())
            return self._down_until - time.monotonic()
        for trace_id, refusal in refused.items():
            self.refused(trace_id, refusal)
        return 0.0

    def refused(self, trace_id: str, refusal: RowRefusedError) -> Result:
        """Set a row aside that the database will never take."""
        logger.error("the row of run %s is refused: %s", trace_id, refusal)
        try:
            self._outbox.refuse(Refused(trace_id=trace_id, reason=str(refusal)))
        except OSError:
            logger.warning("the refusal of run %s could not be noted in %s", trace_id, self._settings.state_dir)
        return {"row_error": str(refusal), "settled": True}

    def settle_unfinished(self, live: Collection[str]) -> int:
        """Say of runs whose rows nobody has refreshed for long that they were cut short; gives how many there were."""
        before = datetime.now(UTC) - timedelta(seconds=self._settings.settle_after)
        return self._store.settle_unfinished(before, live)

    def catch_up(self) -> bool:
        """Prepare a piece of what queries want prepared; gives whether there is more."""
        return self._store.catch_up()

    def close(self) -> None:
        """Let go of the database."""
        self._store.close()

    def _tried(self, rows: Sequence[Row]) -> dict[str, RowRefusedError] | None:
        """Write rows; gives those that were refused, None where the database could not be used."""
        try:
            refused = self._store.save(rows)
        except StoreError as error:
            logger.error("%s; rows wait for it, their runs are safe", error)  # noqa: TRY400 # one line
            self.why_down = str(error)
        except Exception as error:
            logger.exception("%d rows could not be written; they wait, their runs are safe", len(rows))
            self.why_down = str(error)
        else:
            self._pause, self._down_until = FIRST_PAUSE, 0.0
            self._outbox.saved([made.run.trace_id for made in rows])
            return refused
        self._leave_alone()
        return None

    def _leave_alone(self) -> None:
        """Try nothing for a while, a longer one each time."""
        self._down_until = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LAST_PAUSE)

    def _queued(self, made: Row, why: str) -> Result:
        location = made.run.trace_file_path
        if location is None:
            return {"row_error": why}
        try:
            self._outbox.put(Waiting(trace_id=made.run.trace_id, location=str(location)))
        except OSError as error:
            return {"row_error": f"{why}; and the outbox in {self._settings.state_dir} takes none: {error.strerror}"}
        return {"row": f"queued: {why}", "settled": True}

    def _row_of(self, waiting: Waiting) -> Row | None:
        """Make a row from its trace file; None where that cannot be read just now.

        One whose file is no trace file any more is dropped from the outbox, for `verify` to name.
        """
        path = self._settings.resolve(waiting.location)
        try:
            return brain_files.document_and_row(self._settings, path)[1]
        except RowRefusedError as refusal:
            self.refused(waiting.trace_id, refusal)
        except TraceFileError as error:
            self.why_down = str(error)
            logger.error("the row of run %s cannot be made: %s", waiting.trace_id, error)  # noqa: TRY400 # one line
            gone = path.parent.is_dir() and not path.exists()
            if gone or not isinstance(error.__cause__, OSError):
                self._outbox.saved([waiting.trace_id])
        return None
