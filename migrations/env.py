"""Alembic's entry point: runs all migrations of a command on one connection, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from advanced_alchemy.base import metadata_registry
from alembic import context

if TYPE_CHECKING:
    from advanced_alchemy.alembic.commands import AlembicCommandConfig

config = cast("AlembicCommandConfig", context.config)

if context.is_offline_mode():
    raise SystemExit("migrations need a database connection; offline SQL generation is not supported")

with config.engine.connect() as connection:  # type: ignore[union-attr]
    context.configure(
        connection=connection,
        target_metadata=metadata_registry.get(config.bind_key),
        compare_type=True,
        compare_server_default=True,
        version_table=config.version_table_name,
    )
    with context.begin_transaction():
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # PgBouncer's limit is meant for requests
        # Two commands may migrate at once: the second one waits, then finds nothing to do. The lock's number is
        # arbitrary; it only has to be unused by others.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7267014)")
        context.run_migrations()
