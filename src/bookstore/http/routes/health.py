"""/health: liveness and readiness probes. Both identify the worker that responds."""

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
    """The state of a worker. `worker` is its number within the server, counted from 1, or null if it was not started by
    `bookstore serve`. `reason` explains why a worker is not ready."""

    status: Literal["alive", "ready", "not_ready"]
    profile: str
    pid: int
    worker: int | None
    reason: str | None = None


class HealthController(Controller):
    path = "/health"
    tags = ("Health",)
    opt = authorization.PUBLIC

    @get("/live", operation_id="getLive", summary="Check liveness")
    async def live(self, database: NamedDependency[SkipValidation[Database]]) -> Health:
        """Responds with 200 as long as the event loop runs. Does not check the database, which a restart cannot fix."""
        return _health("alive", database)

    @get(
        "/ready",
        operation_id="getReady",
        summary="Check readiness",
        responses={HTTP_503_SERVICE_UNAVAILABLE: ResponseSpec(Health, description="The worker is not ready")},
    )
    async def ready(self, readiness: NamedDependency[SkipValidation[Readiness]]) -> Response[Health]:
        """Responds with 200 if the database answers within a second and has the schema of this version, otherwise with
        503. The result is cached for a second. A busy worker that completes its requests is ready."""
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
