"""Alembic's entry point: one connection, one transaction for all migrations of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from advanced_alchemy.base import metadata_registry
from alembic import context

if TYPE_CHECKING:
    from advanced_alchemy.alembic.commands import AlembicCommandConfig

config = cast("AlembicCommandConfig", context.config)

if context.is_offline_mode():
    raise SystemExit("migrations run against a database; their SQL alone is not offered")

with config.engine.connect() as connection:  # type: ignore[union-attr]
    context.configure(
        connection=connection,
        target_metadata=metadata_registry.get(config.bind_key),
        compare_type=True,
        compare_server_default=True,
        version_table=config.version_table_name,
    )
    with context.begin_transaction():
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # PgBouncer's is for requests
        # Two commands may migrate at once: the second one waits, and then finds nothing to do. Any number
        # does that nobody else locks.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7267014)")
        context.run_migrations()
