"""/health: is the worker alive, may it have traffic. Both say who answers."""

from __future__ import annotations

import asyncio
import os
from typing import Literal

import msgspec
import sqlalchemy as sa
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import SkipValidation
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE
from sqlalchemy.orm import Session

from bookstore import access, errors, sqlstate
from bookstore.database import Database
from bookstore.models import SCHEMA_REVISION, VERSION_TABLE

READY_WITHIN_S = 1.0

_NO_SUCH_TABLE = "42P01"
_REVISION = sa.select(sa.table(VERSION_TABLE, sa.column("version_num")).c.version_num)


class Health(msgspec.Struct, frozen=True):
    """`worker` counts from 1 within a server; null where something else than `bookstore serve` started
    the worker. `reason` says why a worker is not ready."""

    status: Literal["alive", "ready", "not_ready"]
    profile: str
    pid: int
    worker: int | None
    reason: str | None = None


class HealthController(Controller):
    path = "/health"
    tags = ("Health",)
    opt = access.PUBLIC

    @get("/live", operation_id="getLive", summary="Is the worker alive?")
    async def live(self, database: NamedDependency[SkipValidation[Database]]) -> Health:
        """Answers as long as the event loop turns; asks no database: a restart would not mend one."""
        return _health("alive", database)

    @get(
        "/ready",
        operation_id="getReady",
        summary="May the worker have traffic?",
        responses={HTTP_503_SERVICE_UNAVAILABLE: ResponseSpec(Health, description="The worker is not ready")},
    )
    async def ready(self, database: NamedDependency[SkipValidation[Database]]) -> Response[Health]:
        """200 where the database answers within a second and has the schema of this version, else 503."""
        reason = await _obstacle(database)
        if reason is None:
            return Response(_health("ready", database), status_code=HTTP_200_OK)
        return Response(
            _health("not_ready", database, reason),
            status_code=HTTP_503_SERVICE_UNAVAILABLE,
            headers={"Retry-After": errors.retry_after()},
        )


async def _obstacle(database: Database) -> str | None:
    def work(session: Session) -> str | None:
        revision: str | None = session.scalar(_REVISION)
        return revision

    try:
        async with asyncio.timeout(READY_WITHIN_S):
            revision = await database.run(work, reading=True)
    except Exception as error:
        if getattr(getattr(error, "orig", None), "sqlstate", None) == _NO_SUCH_TABLE:
            revision = None
        elif known := sqlstate.trouble(error):
            return known[0]
        else:
            raise
    if revision == SCHEMA_REVISION:
        return None
    return f"the database's schema is at {revision}, this version needs {SCHEMA_REVISION}: bookstore db upgrade"


def _health(status: Literal["alive", "ready", "not_ready"], database: Database, reason: str | None = None) -> Health:
    worker = os.environ.get("BOOKSTORE_WORKER")
    return Health(status, database.profile.name, os.getpid(), int(worker) if worker else None, reason)
