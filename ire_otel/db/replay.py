"""Bring what people said about a run back into the database, and tell where the two differ.

REPLAYED has an entry for every kind of review; a new kind is added there and nowhere else.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ire_otel import reviews, values
from ire_otel.db.tables import trace_calibrations, traces
from ire_otel.reviews import Entry

CALIBRATION: Final = "calibration"
"""Kind of an entry with what somebody thinks of a run: any of `principle_id`, `gate_score`, `human_score`, `note`; all
else that it says is kept in `data`."""

Apply = Callable[[sa.Connection, str, Sequence[Entry]], None]
"""Brings the entries of one kind about one run, oldest first, into the database. Doing it again changes nothing."""


class Mismatch(NamedTuple):
    """Something that the file of reviews and the database do not say alike."""

    column: str
    said: Any
    """By the file."""
    stored: Any


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the entries of one kind."""

    apply: Apply
    mismatches: Callable[[sa.Connection, str, Sequence[Entry]], Iterator[Mismatch]]
    """Compares the entries of one kind about one run, which may be none, with the database."""


def replay(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> list[str]:
    """Bring all that was said about a run, oldest first, into the database; give the kinds that nobody knows."""
    kinds = dict.fromkeys(entry.kind for entry in entries)
    for kind in kinds:
        if kind in REPLAYED:
            REPLAYED[kind].apply(connection, trace_id, [entry for entry in entries if entry.kind == kind])
    return [kind for kind in kinds if kind not in REPLAYED]


def mismatches(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> Iterator[Mismatch]:
    """Give where the database differs from what was said about a run."""
    for name, kind in REPLAYED.items():
        yield from kind.mismatches(connection, trace_id, [entry for entry in entries if entry.kind == name])


def _set(column: sa.Column[Any], value: Callable[[Sequence[Entry]], Any]) -> Kind:
    """Give the kind whose entries amount to the value of one column of the run's row."""
    this_run = traces.c.trace_id == sa.bindparam("run")

    def apply(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> None:
        connection.execute(sa.update(traces).where(this_run).values({column: value(entries)}), {"run": trace_id})

    def mismatching(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> Iterator[Mismatch]:
        said = value(entries)
        for stored in connection.scalars(sa.select(column).where(this_run), {"run": trace_id}):
            if (stored or None) != (said or None):
                yield Mismatch(column.name, said, stored)

    return Kind(apply=apply, mismatches=mismatching)


def _calibration(trace_id: str, entry: Entry) -> dict[str, Any]:
    """Give the row of a calibration; its id is made from what was said, so that no replay adds another."""
    content = values.dumps([trace_id, entry.kind, entry.when, entry.who, sorted(entry.data.items())])
    columns = ("principle_id", "gate_score", "human_score", "note")
    return {
        "id": hashlib.sha256(content.encode()).hexdigest(),
        "trace_id": trace_id,
        "reviewer": entry.who,
        "created_at": datetime.fromisoformat(entry.when),
        "data": {name: value for name, value in entry.data.items() if name not in columns},
        **{name: entry.data.get(name) for name in columns},
    }


def _add_calibrations(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(trace_calibrations).on_conflict_do_nothing(index_elements=["id"])
    connection.execute(statement, [_calibration(trace_id, entry) for entry in entries])


def _missing_calibrations(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> Iterator[Mismatch]:
    of_run = sa.select(trace_calibrations).where(trace_calibrations.c.trace_id == trace_id)
    stored = {row["id"]: dict(row) for row in connection.execute(of_run).mappings()}
    said = {row["id"]: row for row in (_calibration(trace_id, entry) for entry in entries)}
    for id_ in {**said, **stored}:
        if said.get(id_) != stored.get(id_):
            yield Mismatch(trace_calibrations.name, said.get(id_), stored.get(id_))


REPLAYED: Final[Mapping[str, Kind]] = {
    reviews.FLAG: _set(traces.c.flagged_for_review, lambda entries: reviews.standing(entries).flagged),
    reviews.NOTE: _set(traces.c.review_notes, lambda entries: reviews.standing(entries).notes),
    CALIBRATION: Kind(apply=_add_calibrations, mismatches=_missing_calibrations),
}
