"""Readiness probe: whether this worker should receive traffic. It queries the database at most once per second.

A busy worker is ready: a unit of work that succeeded within the last second shows that the database answers, and the
full pool is left to requests. Otherwise a check that gets no connection or no answer within a second means not ready.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog.models import SCHEMA_REVISION, VERSION_TABLE
from bookstore.database import sqlstate
from bookstore.database.unit_of_work import Database

CACHE_TTL_S: Final = 1.0
"""How long a result is reused."""
CHECK_TIMEOUT_S: Final = 1.0
"""How long a check may take, including the wait for a connection."""
PROOF_TTL_S: Final = 1.0
"""How long a successful unit of work proves that the database answers."""

_NO_SUCH_TABLE: Final = "42P01"
_TIMEOUT_CODES: Final = {"pool_exhausted", "db_timeout"}
_REVISION: Final = sa.select(sa.table(VERSION_TABLE, sa.column("version_num")).c.version_num)


class Readiness:
    """The readiness of the worker that uses `database`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._check: asyncio.Task[str | None] | None = None
        self._kept_until_s = 0.0
        self._schema_obstacle: str | None = None
        """The result of the last check that could read the schema's revision."""

    async def obstacle(self) -> str | None:
        """Return why the worker is not ready, None if it is. Calls within CACHE_TTL_S share one check."""
        if self._check is None or (self._check.done() and monotonic() >= self._kept_until_s):
            self._check = asyncio.create_task(self._refresh())
        return await asyncio.shield(self._check)  # a cancelled caller must not cancel the check of others

    async def _refresh(self) -> str | None:
        try:
            return await self._find_obstacle()
        finally:
            self._kept_until_s = monotonic() + CACHE_TTL_S

    async def _find_obstacle(self) -> str | None:
        if self.database.is_full and self._is_proven():
            return self._schema_obstacle
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                revision = await self.database.probe(_revision)
        except Exception as error:
            if getattr(getattr(error, "orig", None), "sqlstate", None) == _NO_SUCH_TABLE:
                revision = None
            elif problem := sqlstate.server_problem(error):
                return self._schema_obstacle if problem[0] in _TIMEOUT_CODES and self._is_proven() else problem[0]
            else:
                raise
        self._schema_obstacle = _schema_obstacle(revision)
        return self._schema_obstacle

    def _is_proven(self) -> bool:
        return monotonic() - self.database.last_success_s < PROOF_TTL_S


def _revision(session: Session) -> str | None:
    revision: str | None = session.scalar(_REVISION)
    return revision


def _schema_obstacle(revision: str | None) -> str | None:
    if revision == SCHEMA_REVISION:
        return None
    return f"the database's schema is at {revision}, this version needs {SCHEMA_REVISION}: bookstore db upgrade"
