"""Hold files, rows, reports and reviews against one another, and name each difference."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from os.path import isfile  # which takes any text for a path, as a row may hold it
from pathlib import Path
from typing import Final

import msgspec

from ire_otel import brain_files, reader, reviews
from ire_otel.db.engine import database
from ire_otel.db.stored import Stored
from ire_otel.errors import RowRefusedError, TraceFileError
from ire_otel.model import TraceDocument
from ire_otel.row import Row, row
from ire_otel.settings import Settings
from ire_otel.verification import links
from ire_otel.verification.documents import faults
from ire_otel.verification.rows import contrast, differing

BATCH: Final = 100
"""Files whose rows are read at a time."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be."""

    subject: str
    """The run's trace_id; where there is no run, the path of a file."""
    aspect: str
    """What differs: a column, a child table with its row and column; else file, row, document, report or reviews."""
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
        yield from check.rows()
        yield from check.leftovers()
        yield from check.reports()


class _Check:
    def __init__(self, chosen: Settings, stored: Stored, project: str | None) -> None:
        self._settings, self._stored, self._project = chosen, stored, project

    def files(self, paths: Sequence[Path]) -> Iterator[Difference]:
        """Look at trace files, at the rows of their runs, and at the reports that they name."""
        rows = self._stored.rows([path.stem for path in paths])
        made: list[Row] = []
        for path in paths:
            try:
                document = _document(path)
                made.append(row(document, self._settings.location(path)))
            except (TraceFileError, RowRefusedError) as error:
                yield Difference(subject=path.stem, aspect="file", says=str(error))
                continue
            yield from self._document(document, path)
        linked = self._stored.known_projects({one.run.project_id for one in made if one.run.project_id})
        for one in made:
            run = one.run
            if run.project_id not in linked:
                one = msgspec.structs.replace(one, run=msgspec.structs.replace(run, project_id=None))  # noqa: PLW2901 # as the store writes it
            if run.trace_id not in rows:
                yield Difference(subject=run.trace_id, aspect="row", says=f"none: {_REINDEX}")
            else:
                for column, says in differing(one, rows[run.trace_id]):
                    yield Difference(subject=run.trace_id, aspect=column, says=says)

    def reviews(self) -> Iterator[Difference]:
        """Look at what people said, and at what the database says that they did."""
        seen = set()
        for path in brain_files.review_files(self._settings, self._project):
            seen.add(path.stem)
            try:
                said = reviews.read(path)
            except reviews.ReviewError as error:
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

    def rows(self) -> Iterator[Difference]:
        """Look for rows whose trace file is gone, or was never written."""
        for place in self._stored.places(self._project):
            if place.location is None:
                yield Difference(subject=place.trace_id, aspect="row", says="it names no trace file")
            elif not isfile(self._settings.resolve(place.location)):
                yield Difference(subject=place.trace_id, aspect="row", says=f"its file {place.location} is not there")

    def leftovers(self) -> Iterator[Difference]:
        """Look for what a crash left."""
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

    def _said(self, trace_id: str, entries: Sequence[reviews.Entry]) -> Iterator[Difference]:
        unknown, mismatches = self._stored.against(trace_id, entries)
        for kind in unknown:
            yield Difference(
                subject=trace_id, aspect="reviews", says=f"kind {kind[:40]!r} is unknown to this ire-otel; upgrade it"
            )
        for column, said, stored in mismatches:
            yield Difference(subject=trace_id, aspect=column, says=contrast(said, stored))


_REINDEX: Final = "run `ire-otel db reindex`"


def _document(path: Path) -> TraceDocument:
    try:
        document = reader.decode(path.read_bytes(), str(path))
    except OSError as error:
        raise TraceFileError(f"{path} cannot be read: {error.strerror}; mend its permissions") from error
    if document.trace_id != path.stem:
        raise TraceFileError(f"{path} holds run {document.trace_id[:100]!r}: call it so, or remove it")
    return document
