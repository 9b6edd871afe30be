"""Fill the database from the files of the brain folder, or build it anew: the files are the truth."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa

from ire_otel import brain_files, reviews
from ire_otel.db.arrears import sum_up_next
from ire_otel.db.engine import database, engine
from ire_otel.db.failures import is_about_content, wrapped
from ire_otel.db.migrate import ensure_current
from ire_otel.db.replay import replay
from ire_otel.db.store import RunStore
from ire_otel.db.stored import Place, Stored
from ire_otel.db.tables import traces
from ire_otel.errors import RowRefusedError, TraceFileError
from ire_otel.outbox import Outbox
from ire_otel.row import Row
from ire_otel.settings import Settings

BATCH: Final = 100
"""Files in one transaction: a run that ends in the meantime waits for no more than these."""
MARGIN: Final = timedelta(seconds=2)
"""By how much a row must be newer than its file to count as made from it: clocks differ, a file's may lag behind."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A file that could not be brought into the database, wholly or in part."""

    path: str
    reason: str


class Reindexed(msgspec.Struct, frozen=True, kw_only=True):
    """What a reindex did."""

    files: int
    """Trace files that there are."""
    written: int
    """Runs whose rows were written."""
    current: int
    """Runs whose row was newer than the file already."""
    reviewed: int
    """Runs about which people said something; the database has it now."""
    problems: list[Problem]
    rows_without_file: list[str]
    """trace_ids of rows whose trace file is not there; they are left as they are."""


def reindex(chosen: Settings, *, force: bool = False, on_files: Callable[[int], None] = lambda _: None) -> Reindexed:
    """Bring the rows of every trace file, and all that people said, into the configured database.

    A row that is newer than its file by MARGIN is left as it is, unless `force`; so an interrupted reindex goes on
    where it stopped. Doing it again changes nothing. Days are summed up; words for the search are
    taken in later, by whoever writes runs or searches.
    SQLite is made and migrated; Postgres must be migrated.
    on_files: called with the number of files that were just dealt with.

    Raises StoreUnavailableError, and ConfigurationError where there is no brain folder.
    """
    target = database(chosen.database_url, chosen.pooler)
    brain_files.projects(chosen)
    ensure_current(target)
    with closing(RunStore(chosen.database_url, chosen.pooler)) as store, Stored(target) as stored:
        work = _Reindexing(chosen, store, stored, force=force)
        files = brain_files.trace_files(chosen)
        while batch := list(islice(files, BATCH)):
            work.take(batch)
            on_files(len(batch))
        with wrapped(target), engine(target).connect() as connection:
            connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
            for path in brain_files.review_files(chosen):
                work.bring_back(connection, path)
        with wrapped(target), engine(target, patient=True).connect() as connection:
            while sum_up_next(connection):
                pass
        return work.result()


class _Reindexing:
    """The steps of a reindex, and what has come of it so far."""

    def __init__(self, chosen: Settings, store: RunStore, stored: Stored, *, force: bool) -> None:
        self._settings, self._store, self._stored, self._force = chosen, store, stored, force
        self._outbox = Outbox(chosen.state_dir)
        self._files = self._current = self._reviewed = 0
        self._problems: dict[Path, str] = {}

    def take(self, paths: Sequence[Path]) -> None:
        """Write the rows of those files that are newer than theirs."""
        versions = {path: _version(path) for path in paths}
        due = list(paths) if self._force else list(self._outdated(versions))
        self._files += len(paths)
        self._current += len(paths) - len(due)
        while due:
            self._write(due)
            after = {path: _version(path) for path in due}
            # A run that was written in the meantime has its rows, and ours from its older file may have replaced them.
            versions, due = after, [path for path in due if after[path] != versions[path]]

    def bring_back(self, connection: sa.Connection, path: Path) -> None:
        """Bring what people said about one run into the database."""
        this_run = sa.select(traces.c.trace_id).where(traces.c.trace_id == path.stem).with_for_update()
        try:
            with connection.begin():
                # Before the file is read: whoever says something now has written it there, or waits for us.
                known = connection.scalar(this_run)
                unknown = replay(connection, path.stem, reviews.read(path).entries)
        except Exception as error:
            original = getattr(error, "orig", None) or error
            if not isinstance(error, reviews.ReviewError) and not is_about_content(original):
                raise
            self._problems[path] = f"{path} cannot be brought back ({' '.join(str(original).split())})"
            return
        self._reviewed += 1
        if unknown:
            kinds = ", ".join(unknown)[:100]
            self._problems[path] = f"{path} holds reviews of kind {kinds}, unknown to this ire-otel; upgrade ire-otel"
        elif known is None:
            self._problems[path] = f"{path} is about a run that has no row: restore its trace file, then reindex again"

    def result(self) -> Reindexed:
        """Sum up, after looking for rows that have no file."""
        return Reindexed(
            files=self._files,
            written=self._files - self._current - sum(path.suffix == brain_files.SUFFIX for path in self._problems),
            current=self._current,
            reviewed=self._reviewed,
            problems=[Problem(path=str(path), reason=reason) for path, reason in self._problems.items()],
            rows_without_file=[place.trace_id for place in self._stored.all_places() if self._lacks_file(place)],
        )

    def _outdated(self, versions: dict[Path, int]) -> Iterator[Path]:
        known = self._stored.places([path.stem for path in versions])
        for path, version in versions.items():
            place = known.get(path.stem)
            newest = datetime.fromtimestamp(version / 1e9, UTC) + MARGIN
            if place is None or place.location != self._settings.location(path) or place.updated_at < newest:
                yield path

    def _write(self, paths: Sequence[Path]) -> None:
        """Write the rows of `paths` in one transaction."""
        rows: dict[Path, Row] = {}
        for path in paths:
            self._problems.pop(path, None)
            try:
                _, rows[path] = brain_files.document_and_row(self._settings, path)
            except (TraceFileError, RowRefusedError) as error:
                self._problems[path] = str(error)
        refused = self._store.save(list(rows.values()))
        self._problems |= {path: str(refused[path.stem]) for path in rows if path.stem in refused}
        self._outbox.saved([path.stem for path in rows if path.stem not in refused])

    def _lacks_file(self, place: Place) -> bool:
        if place.location is None:
            return not place.goes_on
        return not brain_files.exists(self._settings.resolve(place.location))


def _version(path: Path) -> int:
    """Give when a file was written, in nanoseconds since 1970; 0 where it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
