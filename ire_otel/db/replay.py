"""Bring what people said about a run back into the database, and tell where the two differ.

REPLAYED, at the end, has every kind of review; a new kind is added there and nowhere else.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from ire_otel import reviews, values
from ire_otel.db import flag_states
from ire_otel.db.tables import trace_calibrations, traces
from ire_otel.reviews import Entry, ReviewError

CALIBRATION: Final = "calibration"
"""Kind of an entry with what somebody thinks of a run: any of `principle_id`, `gate_score`, `human_score`, `note`; all
else that it says is kept in `data`."""

Apply = Callable[[sa.Connection, str, Sequence[Entry]], None]
"""Brings the entries of one kind about one run, oldest first, into the database. Doing it again changes nothing."""


Differences = Iterator[tuple[str, Any, Any]]
"""Columns (or tables, for whole rows), each with what the file of reviews says and what the database holds."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the entries of one kind."""

    apply: Apply
    differences: Callable[[sa.Connection, str, Sequence[Entry]], Differences]
    """Compares the entries of one kind about one run, which may be none, with the database."""


def replay(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> list[str]:
    """Bring all that was said about a run, oldest first, into the database; give the kinds that nobody knows.

    Raises ReviewError for an entry that does not say what its kind says, and the database's own errors.
    """
    kinds = dict.fromkeys(entry.kind for entry in entries)
    for kind in kinds:
        if kind in REPLAYED:
            with _readable(kind):
                REPLAYED[kind].apply(connection, trace_id, [entry for entry in entries if entry.kind == kind])
    return [kind for kind in kinds if kind not in REPLAYED]


def differences(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> Differences:
    """Give where the database differs from what was said about a run. Raises as `replay` does."""
    for name, kind in REPLAYED.items():
        with _readable(name):
            yield from kind.differences(connection, trace_id, [entry for entry in entries if entry.kind == name])


@contextmanager
def _readable(kind: str) -> Iterator[None]:
    try:
        yield
    except exc.SQLAlchemyError:
        raise
    except Exception as error:
        raise ReviewError(f"an entry of kind {kind} cannot be read ({error}): mend or remove it") from error


def _set(column: sa.Column[Any], value: Callable[[Sequence[Entry]], Any]) -> Kind:
    """Give the kind whose entries amount to the value of one column of the run's row."""
    this_run = traces.c.trace_id == sa.bindparam("run")

    def apply(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> None:
        connection.execute(sa.update(traces).where(this_run).values({column: value(entries)}), {"run": trace_id})

    def differing(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> Differences:
        said = value(entries)
        for stored in connection.scalars(sa.select(column).where(this_run), {"run": trace_id}):
            if (stored or None) != (said or None):
                yield column.name, said, stored

    return Kind(apply=apply, differences=differing)


class _Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry of kind CALIBRATION says that has a column of its own."""

    principle_id: str | None = None
    gate_score: float | None = None
    human_score: float | None = None
    note: str | None = None


def _calibration(trace_id: str, entry: Entry) -> dict[str, Any]:
    """Give the row of a calibration; its id is made from what was said, so that no replay adds another."""
    content = values.dumps([trace_id, entry.kind, entry.when, entry.who, sorted(entry.data.items())])
    return {
        "id": hashlib.sha256(content.encode()).hexdigest(),
        "trace_id": trace_id,
        "reviewer": entry.who,
        "created_at": datetime.fromisoformat(entry.when),
        "data": {name: value for name, value in entry.data.items() if name not in _Opinion.__struct_fields__},
        **msgspec.structs.asdict(msgspec.convert(entry.data, _Opinion)),
    }


def _add_calibrations(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(trace_calibrations).on_conflict_do_nothing(index_elements=["id"])
    connection.execute(statement, [_calibration(trace_id, entry) for entry in entries])


def _differing_calibrations(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> Differences:
    of_run = sa.select(trace_calibrations).where(trace_calibrations.c.trace_id == trace_id)
    stored = {row["id"]: dict(row) for row in connection.execute(of_run).mappings()}
    said = {row["id"]: row for row in (_calibration(trace_id, entry) for entry in entries)}
    for id_ in {**said, **stored}:
        own, found = said.get(id_), stored.get(id_)
        if own is None or found is None:
            yield trace_calibrations.name, own, found
        else:
            for column in own:
                if own[column] != found[column]:
                    yield f"{trace_calibrations.name}.{column}", own[column], found[column]


REPLAYED: Final[Mapping[str, Kind]] = {
    reviews.FLAG: _set(traces.c.flagged_for_review, lambda entries: reviews.standing(entries).flagged),
    reviews.NOTE: _set(traces.c.review_notes, lambda entries: reviews.standing(entries).notes),
    CALIBRATION: Kind(apply=_add_calibrations, differences=_differing_calibrations),
    flag_states.FLAG_STATE: Kind(apply=flag_states.apply, differences=flag_states.differences),
}
