"""Hold files, rows, reports and reviews against one another, and name each difference."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from ire_otel import brain_files
from ire_otel.db.engine import database
from ire_otel.db.replay import REPLAYED
from ire_otel.db.stored import Stored
from ire_otel.errors import RowRefusedError, TraceFileError
from ire_otel.locations import LATE
from ire_otel.model import TraceDocument
from ire_otel.outbox import Outbox
from ire_otel.reviews import Entry, ReviewError, read
from ire_otel.row import Row
from ire_otel.settings import Settings
from ire_otel.verification import links
from ire_otel.verification.documents import faults
from ire_otel.verification.rows import contrast, differing

BATCH: Final = 100
"""Files whose rows are read at a time."""
_WAITS: Final = "it waits for its database: run `ire-otel recover`"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be."""

    subject: str
    """The run's trace_id; where there is no run, the path of a file."""
    aspect: str
    """What differs: a column, a child table with its row and column; else file, late, row, document, report or
    reviews."""
    says: str
    """In what it differs, as a sentence."""

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.subject}: {self.aspect}: {self.says}"


def verify(
    chosen: Settings, *, project: str | None = None, on_files: Callable[[int], None] = lambda _: None
) -> Iterator[Difference]:
    """Give every difference between trace files, rows, reports and reviews, of all projects or of one.

    Rows that wait for their database, or that it refused, are named instead of what they lack.
    Nothing is changed. on_files: called with the number of trace files that were just looked at.
    A run that is written in the meantime may be named though nothing is wrong with it.

    Raises StoreUnavailableError, and ConfigurationError where there is no such project or no brain folder.
    """
    with Stored(database(chosen.database_url, chosen.pooler)) as stored:
        check = _Check(chosen, stored, project)
        files = brain_files.trace_files(chosen, project)
        while batch := list(islice(files, BATCH)):
            yield from check.files(batch)
            on_files(len(batch))
        yield from check.reviews()
        yield from check.outbox()
        yield from check.rows()
        yield from check.leftovers()
        yield from check.reports()


class _Check:
    def __init__(self, chosen: Settings, stored: Stored, project: str | None) -> None:
        self._settings, self._stored, self._project = chosen, stored, project
        box = Outbox(chosen.state_dir)
        self._unsaved = {waiting.trace_id: _WAITS for waiting in box.waiting()}
        self._unsaved |= {refused.trace_id: f"its database refuses it: {refused.reason}" for refused in box.refused()}
        self._seen: set[str] = set()
        """Those of them that have been named, or have their row by now."""

    def files(self, paths: Sequence[Path]) -> Iterator[Difference]:
        """Look at trace files, at the rows of their runs, and at the reports that they name."""
        made: list[Row] = []
        for path in paths:
            try:
                document, rows = brain_files.document_and_row(self._settings, path)
            except (TraceFileError, RowRefusedError) as error:
                self._seen.add(path.stem)
                yield Difference(subject=path.stem, aspect="file", says=str(error))
            else:
                made.append(rows)
                yield from self._document(document, path)
        stored = self._stored.rows([one.run.trace_id for one in made])
        for one in self._stored.as_stored(made):
            trace_id = one.run.trace_id
            self._seen.add(trace_id)
            columns = list(differing(one, stored[trace_id])) if trace_id in stored else None
            if columns == []:
                continue
            if columns is None or trace_id in self._unsaved:
                says = self._unsaved.get(trace_id, "there is none: run `ire-otel db reindex`")
                yield Difference(subject=trace_id, aspect="row", says=says)
                continue
            for column, says in columns:
                yield Difference(subject=trace_id, aspect=column, says=says)

    def reviews(self) -> Iterator[Difference]:
        """Look at what people said, and at what the database says that they did."""
        seen = set()
        for path in brain_files.review_files(self._settings, self._project):
            seen.add(path.stem)
            try:
                said = read(path)
            except ReviewError as error:
                yield Difference(subject=path.stem, aspect="reviews", says=str(error))
                continue
            for number in said.spoilt:
                yield Difference(
                    subject=path.stem, aspect="reviews", says=f"line {number} of {path} is no entry: mend or remove it"
                )
            yield from self._said(path.stem, said.entries)
        for trace_id in self._stored.spoken_of(self._project):
            if trace_id not in seen:
                yield from self._said(trace_id, ())

    def outbox(self) -> Iterator[Difference]:
        """Look for rows that wait, or were refused, of runs whose trace files are not there."""
        if self._project is None:
            for trace_id in sorted(self._unsaved.keys() - self._seen):
                yield Difference(subject=trace_id, aspect="row", says=self._unsaved[trace_id])

    def rows(self) -> Iterator[Difference]:
        """Look for rows whose trace file is gone, or was never written."""
        for place in self._stored.all_places(self._project):
            if place.location is None:
                if not place.goes_on:
                    yield Difference(subject=place.trace_id, aspect="row", says="it names no trace file")
            elif not brain_files.exists(self._settings.resolve(place.location)):
                yield Difference(subject=place.trace_id, aspect="row", says=f"its file {place.location} is not there")

    def leftovers(self) -> Iterator[Difference]:
        """Look for what a crash left, and for what came too late."""
        for path in brain_files.late_files(self._settings, self._project):
            says = f"{path} holds what came after the run was settled, and is not in its document: read it, remove it"
            yield Difference(subject=path.name.removesuffix(LATE), aspect="late", says=says)
        for path in brain_files.strays(self._settings, self._project):
            yield Difference(subject=str(path), aspect="file", says="nothing refers to it; look at it and remove it")

    def reports(self) -> Iterator[Difference]:
        """Look at reports, and at the runs that they name."""
        for path in brain_files.reports(self._settings, self._project):
            for subject, says in links.from_report(self._settings, path):
                yield Difference(subject=subject, aspect="report", says=says)

    def _document(self, document: TraceDocument, path: Path) -> Iterator[Difference]:
        for fault in faults(document):
            yield Difference(subject=document.trace_id, aspect="document", says=fault)
        right = self._settings.trace_file(document.project_name, document.trace_id)
        if path != right:
            yield Difference(subject=document.trace_id, aspect="file", says=f"it is at {path}, and belongs to {right}")
        for says in links.from_run(self._settings, document):
            yield Difference(subject=document.trace_id, aspect="report", says=says)

    def _said(self, trace_id: str, entries: Sequence[Entry]) -> Iterator[Difference]:
        for kind in dict.fromkeys(entry.kind for entry in entries):
            if kind not in REPLAYED:
                says = f"kind {kind[:40]!r} is unknown to this ire-otel; upgrade it"
                yield Difference(subject=trace_id, aspect="reviews", says=says)
        try:
            differences = self._stored.differences(trace_id, entries)
        except ReviewError as error:
            yield Difference(subject=trace_id, aspect="reviews", says=str(error))
            return
        for column, said, stored in differences:
            yield Difference(subject=trace_id, aspect=column, says=contrast(said, stored))
