"""/health: is the worker alive, may it have traffic. Both say who answers."""

from __future__ import annotations

import os
from typing import Literal

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import SkipValidation
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

from bookstore.database.readiness import Readiness
from bookstore.database.unit_of_work import Database
from bookstore.http import authorization, problem_details


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
    opt = authorization.PUBLIC

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
    async def ready(self, readiness: NamedDependency[SkipValidation[Readiness]]) -> Response[Health]:
        """200 where the database answers within a second and has the schema of this version, else 503. An answer
        holds for a second. A worker that is busy, and gets its work done, is ready."""
        reason = await readiness.obstacle()
        if reason is None:
            return Response(_health("ready", readiness.database), status_code=HTTP_200_OK)
        return Response(
            _health("not_ready", readiness.database, reason),
            status_code=HTTP_503_SERVICE_UNAVAILABLE,
            headers={"Retry-After": problem_details.retry_after()},
        )


def _health(status: Literal["alive", "ready", "not_ready"], database: Database, reason: str | None = None) -> Health:
    worker = os.environ.get("BOOKSTORE_WORKER")
    return Health(status, database.profile.name, os.getpid(), int(worker) if worker else None, reason)
