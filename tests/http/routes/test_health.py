"""/health: alive without a database, ready only with a database of the right schema."""

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


def identifies_worker(body: Any) -> bool:
    """Return whether the response has the profile, process and worker."""
    return (body["profile"], body["pid"], body["worker"]) == ("test", os.getpid(), None)


async def is_not_ready(client: Client) -> str:
    """Check that the service is alive but not ready, and return the reason."""
    live = await client.get("/health/live")
    assert (live.status_code, live.json()["status"]) == (200, "alive")
    response = await client.get("/health/ready")
    assert response.status_code == 503
    assert response.headers["retry-after"].isdigit()
    body = response.json()
    assert body["status"] == "not_ready"
    assert identifies_worker(body)
    return str(body["reason"])


async def is_ready_soon(client: Client) -> bool:
    """Wait until the service is ready; a result is cached for a second."""
    end = time.monotonic() + PATIENCE_S
    while (await client.get("/health/ready")).status_code != 200:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    return True


async def test_healthy(client: Client) -> None:
    """With a migrated database the service is alive and ready, and reports its profile and process."""
    for path, status in {"/health/live": "alive", "/health/ready": "ready"}.items():
        response = await client.get(path)
        assert (response.status_code, response.json()["status"]) == (200, status)
        assert response.json()["reason"] is None
        assert identifies_worker(response.json())


async def test_worker_is_numbered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of `bookstore serve` reports its number."""
    monkeypatch.setenv("BOOKSTORE_WORKER", "2")
    for path in ("/health/live", "/health/ready"):
        assert (await client.get(path)).json()["worker"] == 2


async def test_database_is_down(books_url: sa.URL, driver: Driver, serve: Serve) -> None:
    """Without a database server the service starts, is alive but not ready, and returns 503 without the address."""
    async with serve(books_url.set(host="127.0.0.1", port=1, query={}), driver) as client:
        assert await is_not_ready(client) == "db_unavailable"
        response = await client.get("/books")
        assert (response.status_code, response.json()["code"]) == (503, "db_unavailable")
        assert response.headers["retry-after"].isdigit()
        assert "127.0.0.1" not in response.text


async def test_database_is_not_migrated(blank_url: sa.URL, driver: Driver, serve: Serve) -> None:
    """On a database without tables the service is alive but not ready, and says what to do."""
    async with serve(blank_url, driver) as client:
        reason = await is_not_ready(client)
        assert "None" in reason
        assert "bookstore db upgrade" in reason


async def test_database_is_at_another_revision(url: sa.URL, driver: Driver, serve: Serve) -> None:
    """At another revision the service is not ready and names both; it is ready as soon as they match."""
    async with serve(url, driver) as client:
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            connection.execute("UPDATE schema_version SET version_num = '0000'")
            reason = await is_not_ready(client)
            assert "0000" in reason
            assert SCHEMA_REVISION in reason
            connection.execute("UPDATE schema_version SET version_num = %s", [SCHEMA_REVISION])
        assert await is_ready_soon(client)


async def test_database_is_stuck(url: sa.URL, driver: Driver, serve: Serve) -> None:
    """While the table is locked, the response is 503 long before statement_timeout; afterwards the service is ready."""
    async with serve(url, driver, statement_timeout=60.0) as client:
        with psycopg.connect(conninfo(url)) as connection:
            connection.execute("LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE")
            assert await is_not_ready(client) == "db_timeout"
        assert await is_ready_soon(client)
