"""Column types and defaults that Postgres and SQLite each have in their own way."""

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware datetime: TIMESTAMPTZ; on SQLite ISO 8601 UTC text with microseconds, which sorts as text."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Choose the database's own type."""
        own = postgresql.TIMESTAMP(timezone=True) if dialect.name == "postgresql" else sa.Text()
        return dialect.type_descriptor(own)

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """Bind an aware datetime."""
        if value is None or dialect.name == "postgresql":
            return value
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """Give an aware datetime in UTC."""
        if value is None:
            return None
        moment: datetime = value if dialect.name == "postgresql" else datetime.fromisoformat(value)
        return moment.astimezone(UTC)


Uuid: Final = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
"""A UUID as text in lower case with hyphens."""
TextList: Final = sa.JSON(none_as_null=True).with_variant(postgresql.ARRAY(sa.Text), "postgresql")
JsonObject: Final = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


class UtcNow(ColumnElement[datetime]):
    """The database's clock, as the default of a UtcDateTime."""

    inherit_cache = True
    type = UtcDateTime()


class RandomUuid(ColumnElement[str]):
    """A random UUID (version 4), as the default of a Uuid."""

    inherit_cache = True
    type = sa.Text()


@compiles(UtcNow, "postgresql")
def _now_postgresql(*_: Any, **__: Any) -> str:
    return "now()"


@compiles(UtcNow, "sqlite")
def _now_sqlite(*_: Any, **__: Any) -> str:
    return "(strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))"


@compiles(RandomUuid, "postgresql")
def _uuid_postgresql(*_: Any, **__: Any) -> str:
    return "gen_random_uuid()"


@compiles(RandomUuid, "sqlite")
def _uuid_sqlite(*_: Any, **__: Any) -> str:
    return (
        "(lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-'"
        " || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))))"
    )
