"""Read back what the database holds of runs, as the rows that were written."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Self

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from ire_otel.db.engine import Database, engine
from ire_otel.db.failures import wrapped
from ire_otel.db.migrate import ensure_current
from ire_otel.db.replay import differences
from ire_otel.db.tables import (
    projects,
    trace_calibrations,
    trace_decisions,
    trace_model_usage,
    trace_principle_scores,
    trace_sources,
    trace_stages,
    traces,
)
from ire_otel.errors import StoreUnavailableError
from ire_otel.reviews import Entry
from ire_otel.row import DecisionRow, ModelUsageRow, PrincipleScoreRow, Row, RunRow, SourceRow, StageRow

PAGE: Final = 1_000
"""Rows that are read at a time."""

_CHILDREN: Final[dict[str, tuple[sa.Table, type[msgspec.Struct]]]] = {
    "principle_scores": (trace_principle_scores, PrincipleScoreRow),
    "stages": (trace_stages, StageRow),
    "decisions": (trace_decisions, DecisionRow),
    "sources": (trace_sources, SourceRow),
    "model_usage": (trace_model_usage, ModelUsageRow),
}
"""Child table and the struct of its rows, by the field of Row that holds them."""
KEYS: Final = {
    field: tuple(column.name for column in table.primary_key if column.name != "trace_id")
    for field, (table, _) in _CHILDREN.items()
}
"""What tells the child rows of one run apart, by the field of Row."""
TABLES: Final = {field: table.name for field, (table, _) in _CHILDREN.items()}


class Place(NamedTuple):
    """A run that the database knows, and where its row says that its trace file is."""

    trace_id: str
    location: str | None
    updated_at: datetime
    status: str

    @property
    def goes_on(self) -> bool:
        """Whether the run goes on: its trace file is written when it ends."""
        return self.status == "in_progress"


class Stored:
    """A connection that only reads; a context manager."""

    def __init__(self, target: Database) -> None:
        self._target = target

    def __enter__(self) -> Self:
        """Connect. Raises StoreUnavailableError."""
        if self._target.file is not None and not self._target.file.exists():
            raise StoreUnavailableError(
                f"no database at {self._target.file}: `ire-otel db reindex` makes it from the trace files"
            )
        ensure_current(self._target)
        with wrapped(self._target):
            self._connection = engine(self._target).connect()
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._connection.close()

    def rows(self, trace_ids: Collection[str]) -> dict[str, Row]:
        """Give the rows of those runs that have one, by trace_id; child rows in any order."""
        children: dict[str, dict[str, list[Any]]] = {field: defaultdict(list) for field in _CHILDREN}
        with self._transaction() as connection:
            for field, (table, struct) in _CHILDREN.items():
                for child in _structs(connection, table, struct, trace_ids):
                    children[field][child.trace_id].append(child)
            return {
                run.trace_id: Row(
                    run=run, notes=[], **{field: found[run.trace_id] for field, found in children.items()}
                )
                for run in _structs(connection, traces, RunRow, trace_ids)
            }

    def as_stored(self, rows: Sequence[Row]) -> list[Row]:
        """Give rows as the store writes them: with a project_id only where the table `projects` has it."""
        given = {row.run.project_id for row in rows} - {None}
        with self._transaction() as connection:
            known = (
                set(connection.scalars(sa.select(projects.c.id).where(projects.c.id.in_(given)))) if given else set()
            )
        return [
            row if row.run.project_id in known else replace(row, run=replace(row.run, project_id=None)) for row in rows
        ]

    def places(self, trace_ids: Collection[str]) -> dict[str, Place]:
        """Give where the rows of those runs that have one say that their files are, by trace_id."""
        with self._transaction() as connection:
            found = connection.execute(_PLACES.where(traces.c.trace_id.in_(trace_ids))).all()
        return {row.trace_id: Place(*row) for row in found}

    def all_places(self, project: str | None = None) -> Iterator[Place]:
        """Give it for all runs, or those of a project, by trace_id; PAGE rows are read at a time."""
        statement = _PLACES if project is None else _PLACES.where(traces.c.project_name == project)
        statement = statement.order_by(traces.c.trace_id).limit(PAGE)
        last = ""
        while True:
            with self._transaction() as connection:
                page = connection.execute(statement.where(traces.c.trace_id > last)).all()
            yield from (Place(*row) for row in page)
            if len(page) < PAGE:
                return
            last = page[-1].trace_id

    def spoken_of(self, project: str | None = None) -> list[str]:
        """Give the runs that the database says people have flagged, noted or calibrated."""
        calibrated = sa.select(trace_calibrations.c.trace_id)
        said = sa.or_(
            traces.c.flagged_for_review, traces.c.review_notes.is_not(None), traces.c.trace_id.in_(calibrated)
        )
        known = sa.select(traces.c.trace_id).where(said)
        statement = sa.union(known, calibrated) if project is None else known.where(traces.c.project_name == project)
        with self._transaction() as connection:
            return sorted(connection.scalars(statement))

    def differences(self, trace_id: str, entries: Sequence[Entry]) -> list[tuple[str, Any, Any]]:
        """Give where the database differs from what was said about a run."""
        with self._transaction() as connection:
            return list(differences(connection, trace_id, entries))

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with wrapped(self._target), self._connection.begin():
            yield self._connection


_PLACES: Final = sa.select(traces.c.trace_id, traces.c.trace_file_path, traces.c.updated_at, traces.c.status)


def _structs(
    connection: sa.Connection, table: sa.Table, struct: type[msgspec.Struct], trace_ids: Collection[str]
) -> Iterator[Any]:
    names = struct.__struct_fields__
    statement = sa.select(*(table.c[name] for name in names)).where(table.c.trace_id.in_(trace_ids))
    for row in connection.execute(statement):
        yield struct(**{name: _as_written(value) for name, value in zip(names, row, strict=True)})


def _as_written(value: Any) -> Any:
    """Spell a time as rows do."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    return value
