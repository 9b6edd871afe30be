"""Read back what the database holds of runs, as the rows that were written."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

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


def stored(connection: sa.Connection, trace_ids: Collection[str]) -> dict[str, Row]:
    """Give the rows of those runs that have one, by trace_id; child rows in any order."""
    children: dict[str, dict[str, list[Any]]] = {field: defaultdict(list) for field in _CHILDREN}
    for field, (table, struct) in _CHILDREN.items():
        for child in _structs(connection, table, struct, trace_ids):
            children[field][child.trace_id].append(child)
    return {
        run.trace_id: Row(run=run, notes=[], **{field: found[run.trace_id] for field, found in children.items()})
        for run in _structs(connection, traces, RunRow, trace_ids)
    }


def places(connection: sa.Connection, trace_ids: Collection[str]) -> dict[str, Place]:
    """Give where the rows of those runs that have one say that their files are, by trace_id."""
    columns = sa.select(traces.c.trace_id, traces.c.trace_file_path, traces.c.updated_at)
    found = connection.execute(columns.where(traces.c.trace_id.in_(trace_ids)))
    return {row.trace_id: Place(*row) for row in found}


def all_places(connection: sa.Connection, project: str | None = None) -> Iterator[Place]:
    """Give it for all runs, or those of a project, by trace_id; PAGE rows are read at a time."""
    columns = sa.select(traces.c.trace_id, traces.c.trace_file_path, traces.c.updated_at).order_by(traces.c.trace_id)
    if project is not None:
        columns = columns.where(traces.c.project_name == project)
    last = ""
    while True:
        with connection.begin():
            page = connection.execute(columns.where(traces.c.trace_id > last).limit(PAGE)).all()
        yield from (Place(*row) for row in page)
        if len(page) < PAGE:
            return
        last = page[-1].trace_id


def known_projects(connection: sa.Connection, ids: Collection[str]) -> set[str]:
    """Give those project ids that the table `projects` has."""
    return set(connection.scalars(sa.select(projects.c.id).where(projects.c.id.in_(ids)))) if ids else set()


def spoken_of(connection: sa.Connection, project: str | None = None) -> list[str]:
    """Give the runs that the database says people have flagged, noted or calibrated."""
    calibrated = sa.select(trace_calibrations.c.trace_id)
    said = sa.or_(traces.c.flagged_for_review, traces.c.review_notes.is_not(None), traces.c.trace_id.in_(calibrated))
    known = sa.select(traces.c.trace_id).where(said)
    if project is not None:
        return list(connection.scalars(known.where(traces.c.project_name == project).order_by(traces.c.trace_id)))
    return list(connection.scalars(sa.union(known, calibrated).order_by("trace_id")))


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
