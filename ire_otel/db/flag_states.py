"""The rows of `trace_flags`: read, written, and brought back from what people did about flags."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ire_otel.db.tables import trace_flags
from ire_otel.reviews import Entry

FLAG_STATE: Final = "flag_state"
"""Kind of an entry that snoozes, resolves or reopens a flag: all that its row holds afterwards, and the `action`. It
stands in the file of the run that the flag's row names."""

_NAMESPACE: Final = uuid5(NAMESPACE_URL, "ire-otel:trace_flags")


class FlagRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row in `trace_flags`: the flag as the user was last told of it, and what was done about it."""

    id: str
    """Made from policy, principle, intent and report type, so the same in every database."""
    policy: str
    """count or rate."""
    principle_id: str
    intent: str
    """"" where the flag is about all intents, or about runs that gave none."""
    report_type: str
    """As `intent`."""
    status: str
    """open, snoozed, resolved or reopened."""
    message: str
    runs: int
    """Recent runs."""
    failures: int
    """Recent runs that scored below threshold."""
    rate: float
    """Their share, 0 to 1."""
    baseline_runs: int | None
    """Runs before the recent ones; None where the policy compares with none."""
    baseline_rate: float | None
    low: float
    """Low end of the 95 % confidence interval of `rate`."""
    high: float
    p_value: float | None
    q_value: float | None
    trace_id: str
    """The newest run that failed when the user was last told."""
    project_name: str | None
    """That run's."""
    times_raised: int
    """How often the user was told."""
    first_raised_at: datetime
    last_raised_at: datetime
    """When the user was last told."""
    snoozed_until: datetime | None = None
    resolved_at: datetime | None = None
    note: str | None = None
    """What was said when it was last snoozed, resolved or reopened."""


_COLUMNS: Final = tuple(trace_flags.c[name] for name in FlagRow.__struct_fields__)


def flag_id(policy: str, principle_id: str, intent: str, report_type: str) -> str:
    """Give the id of the flag of a policy on a principle."""
    return str(uuid5(_NAMESPACE, msgspec.json.encode([policy, principle_id, intent, report_type]).decode()))


def by_id(connection: sa.Connection, ids: Collection[str], *, lock: bool = False) -> dict[str, FlagRow]:
    """Give those of the flags that are stored, by id; `lock` keeps others from changing them in this transaction."""
    statement = sa.select(*_COLUMNS).where(trace_flags.c.id.in_(ids)).order_by(trace_flags.c.id)
    rows = connection.execute(statement.with_for_update() if lock else statement).mappings()
    return {row["id"]: FlagRow(**row) for row in rows}


def matching(connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int) -> list[FlagRow]:
    """Give the flags that fit all conditions, the last told first."""
    statement = sa.select(*_COLUMNS).where(*conditions)
    newest = statement.order_by(trace_flags.c.last_raised_at.desc(), trace_flags.c.id).limit(limit)
    return [FlagRow(**row) for row in connection.execute(newest).mappings()]


def add(connection: sa.Connection, row: FlagRow) -> bool:
    """Store a flag that was never raised; False where somebody else was first."""
    statement = _insert(connection).on_conflict_do_nothing().returning(trace_flags.c.id)
    return connection.scalar(statement, msgspec.structs.asdict(row)) is not None


def put(connection: sa.Connection, row: FlagRow) -> None:
    """Store a flag, over what its row held."""
    statement = _insert(connection)
    replaced = {column.name: statement.excluded[column.name] for column in _COLUMNS if column.name != "id"}
    upsert = statement.on_conflict_do_update(index_elements=["id"], set_=replaced)
    connection.execute(upsert, msgspec.structs.asdict(row))


def apply(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> None:
    """Bring back what was done about the flags whose rows name this run. Doing it again changes nothing.

    A row that was told of later is left as it is, so the order of the files does not matter: what was done about a flag
    between two tellings stands in one file. Raises ValueError for an entry that holds no row.
    """
    said = _last_said(trace_id, entries)
    stored = by_id(connection, said, lock=True)
    for id_, row in said.items():
        if id_ not in stored or stored[id_].last_raised_at <= row.last_raised_at:
            put(connection, row)


def differences(connection: sa.Connection, trace_id: str, entries: Sequence[Entry]) -> Iterator[tuple[str, Any, Any]]:
    """Give (column, said, stored) where the database differs from what was done; all of a row that is not there."""
    said = _last_said(trace_id, entries)
    stored = by_id(connection, said)
    for id_, row in said.items():
        found = stored.get(id_)
        if found is None:
            yield trace_flags.name, msgspec.to_builtins(row), None
        elif found.last_raised_at <= row.last_raised_at:
            for name in FlagRow.__struct_fields__:
                if getattr(row, name) != getattr(found, name):
                    yield f"{trace_flags.name}.{name}", getattr(row, name), getattr(found, name)


def _last_said(trace_id: str, entries: Sequence[Entry]) -> dict[str, FlagRow]:
    rows = (msgspec.convert({**entry.data, "trace_id": trace_id}, FlagRow) for entry in entries)
    return {row.id: row for row in rows}


def _insert(connection: sa.Connection) -> Any:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(trace_flags)
