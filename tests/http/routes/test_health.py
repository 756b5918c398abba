"""/health: alive without a database, ready only with the right one."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import AsyncTestClient

from bookstore.catalog.models import SCHEMA_REVISION
from bookstore.database.url import conninfo
from bookstore.profile.engine_profile import Driver

pytestmark = pytest.mark.anyio

Client = AsyncTestClient[Litestar]
Serve = Callable[..., AbstractAsyncContextManager[Client]]
PATIENCE_S = 20.0


def says_who(body: Any) -> bool:
    """Whether profile, process and worker stand in the answer."""
    return (body["profile"], body["pid"], body["worker"]) == ("test", os.getpid(), None)


async def is_not_ready(client: Client) -> str:
    """Why the service is not ready; it has to be alive."""
    live = await client.get("/health/live")
    assert (live.status_code, live.json()["status"]) == (200, "alive")
    response = await client.get("/health/ready")
    assert response.status_code == 503
    assert response.headers["retry-after"].isdigit()
    body = response.json()
    assert body["status"] == "not_ready"
    assert says_who(body)
    return str(body["reason"])


async def is_ready_soon(client: Client) -> bool:
    """Whether it gets ready; an answer holds for a second."""
    end = time.monotonic() + PATIENCE_S
    while (await client.get("/health/ready")).status_code != 200:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    return True


async def test_healthy(client: Client) -> None:
    """With a migrated database the service is alive and ready, and says which profile and process it is."""
    for path, status in {"/health/live": "alive", "/health/ready": "ready"}.items():
        response = await client.get(path)
        assert (response.status_code, response.json()["status"]) == (200, status)
        assert response.json()["reason"] is None
        assert says_who(response.json())


async def test_worker_is_numbered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of `bookstore serve` tells its number."""
    monkeypatch.setenv("BOOKSTORE_WORKER", "2")
    for path in ("/health/live", "/health/ready"):
        assert (await client.get(path)).json()["worker"] == 2


async def test_database_is_down(books_url: sa.URL, driver: Driver, serve: Serve) -> None:
    """Without a server the service starts, is alive and not ready, and answers 503 without telling where it
    looked."""
    async with serve(books_url.set(host="127.0.0.1", port=1, query={}), driver) as client:
        assert await is_not_ready(client) == "db_unavailable"
        response = await client.get("/books")
        assert (response.status_code, response.json()["code"]) == (503, "db_unavailable")
        assert response.headers["retry-after"].isdigit()
        assert "127.0.0.1" not in response.text


async def test_database_is_not_migrated(blank_url: sa.URL, driver: Driver, serve: Serve) -> None:
    """On a database without tables the service is alive, not ready, and says what to do."""
    async with serve(blank_url, driver) as client:
        reason = await is_not_ready(client)
        assert "None" in reason
        assert "bookstore db upgrade" in reason


async def test_database_is_at_another_revision(url: sa.URL, driver: Driver, serve: Serve) -> None:
    """At another revision the service is not ready, names both, and is ready as soon as they agree."""
    async with serve(url, driver) as client:
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            connection.execute("UPDATE schema_version SET version_num = '0000'")
            reason = await is_not_ready(client)
            assert "0000" in reason
            assert SCHEMA_REVISION in reason
            connection.execute("UPDATE schema_version SET version_num = %s", [SCHEMA_REVISION])
        assert await is_ready_soon(client)


async def test_a_stuck_database_is_told_in_time(url: sa.URL, driver: Driver, serve: Serve) -> None:
    """While the table is locked the answer is 503 long before the statement's timeout; afterwards all is well."""
    async with serve(url, driver, statement_timeout=60.0) as client:
        with psycopg.connect(conninfo(url)) as connection:
            connection.execute("LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE")
            assert await is_not_ready(client) == "db_timeout"
        assert await is_ready_soon(client)
