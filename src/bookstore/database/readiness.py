"""Readiness: may this worker have traffic? The database is asked once a second at most, however many probes come.

A worker that is merely busy is ready: a unit of work that ended well within the last second shows that the database
answers, and a full pool then is its users' alone. What neither answers nor lets anybody in for a second is not.
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

KEPT_S: Final = 1.0
"""How long an answer holds."""
WITHIN_S: Final = 1.0
"""How long a check may take, waiting for a connection included."""
PROVEN_S: Final = 1.0
"""How long the end of a unit of work shows that the database answers."""

_NO_SUCH_TABLE: Final = "42P01"
_TOO_LATE: Final = {"pool_exhausted", "db_timeout"}
_REVISION: Final = sa.select(sa.table(VERSION_TABLE, sa.column("version_num")).c.version_num)


class Readiness:
    """That of the worker which works on `database`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._check: asyncio.Task[str | None] | None = None
        self._kept_until_s = 0.0
        self._schema_obstacle: str | None = None
        """What the last check that saw the schema had to say against it."""

    async def obstacle(self) -> str | None:
        """Why the worker is not ready; None where it is. All who ask within a second share one check."""
        if self._check is None or (self._check.done() and monotonic() >= self._kept_until_s):
            self._check = asyncio.create_task(self._checked())
        return await asyncio.shield(self._check)  # who goes away takes nobody else's answer with him

    async def _checked(self) -> str | None:
        try:
            return await self._found()
        finally:
            self._kept_until_s = monotonic() + KEPT_S

    async def _found(self) -> str | None:
        if self.database.is_full and self._is_proven():
            return self._schema_obstacle
        try:
            async with asyncio.timeout(WITHIN_S):
                revision = await self.database.probe(_revision)
        except Exception as error:
            if getattr(getattr(error, "orig", None), "sqlstate", None) == _NO_SUCH_TABLE:
                revision = None
            elif known := sqlstate.trouble(error):
                return self._schema_obstacle if known[0] in _TOO_LATE and self._is_proven() else known[0]
            else:
                raise
        self._schema_obstacle = _difference(revision)
        return self._schema_obstacle

    def _is_proven(self) -> bool:
        return monotonic() - self.database.answered_s < PROVEN_S


def _revision(session: Session) -> str | None:
    revision: str | None = session.scalar(_REVISION)
    return revision


def _difference(revision: str | None) -> str | None:
    if revision == SCHEMA_REVISION:
        return None
    return f"the database's schema is at {revision}, this version needs {SCHEMA_REVISION}: bookstore db upgrade"
