"""Alembic's entry: runs the migrations on the connection that ire_otel.db.migrate hands in, or prints their SQL."""

from alembic import context

from ire_otel.db.migrate import VERSION_TABLE
from ire_otel.db.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    context.configure(
        dialect_name=context.config.attributes["dialect"],
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        literal_binds=True,
        transactional_ddl=context.config.attributes["transaction"],
    )
else:
    # The caller holds the transaction, and with it the lock against a second upgrade.
    context.configure(
        connection=connection, target_metadata=metadata, version_table=VERSION_TABLE, transactional_ddl=True
    )
with context.begin_transaction():
    context.run_migrations()
