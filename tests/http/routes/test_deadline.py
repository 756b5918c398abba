from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import psycopg
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import AsyncTestClient

from bookstore.database.url import conninfo
from bookstore.http.draining import Draining
from bookstore.http.gate import Gate
from bookstore.profile.engine_profile import Driver

Serve = Callable[..., AbstractAsyncContextManager[AsyncTestClient[Litestar]]]

pytestmark = pytest.mark.anyio


async def test_deadline_leaks_nothing(books_url: sa.URL, driver: Driver, serve: Serve) -> None:
    """Requests that exceed the deadline, during a statement or while waiting for a connection, are 503 and return their
    connections: once the database answers again, the service does too."""
    async with serve(books_url, driver, loading="json") as client:
        outermost = client.app.asgi_handler
        assert isinstance(outermost, Draining)
        gate = outermost._app
        assert isinstance(gate, Gate)
        patience_s, gate.deadline_s = gate.deadline_s, 0.3
        with psycopg.connect(conninfo(books_url)) as blocker:
            blocker.execute("LOCK TABLE book IN ACCESS EXCLUSIVE MODE")
            answers = await asyncio.gather(*(client.get("/books/1") for _ in range(5)))
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (503, "deadline")
            assert int(answer.headers["retry-after"]) >= 1
        gate.deadline_s = patience_s
        answers = await asyncio.gather(*(client.get("/books/1") for _ in range(5)))
        assert [answer.status_code for answer in answers] == [200] * 5
