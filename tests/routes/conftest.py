"""The service on a database with a few books, asked as a client would ask it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, get_args

import psycopg
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import AsyncTestClient

from bookstore.app import make_app
from bookstore.database import make_database
from bookstore.database_url import conninfo
from bookstore.engine_profile import Driver, EngineProfile

Client = AsyncTestClient[Litestar]
Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session")
def books_url(server_url: sa.URL, template: str) -> Iterator[sa.URL]:
    """25 books, id 1 to 25, the first with an author and a genre."""
    name = f"bookstore_test_{os.getpid()}_routes"
    with psycopg.connect(conninfo(server_url), autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        url = server_url.set(database=name)
        with psycopg.connect(conninfo(url)) as connection:
            connection.execute("INSERT INTO book (title) SELECT 'Book ' || n FROM generate_series(1, 25) n")
            connection.execute("INSERT INTO author (name) VALUES ('Ann')")
            connection.execute("INSERT INTO genre (name, slug) VALUES ('Drama', 'drama')")
            connection.execute("INSERT INTO book_author VALUES (1, 0, 1)")
            connection.execute("INSERT INTO book_genre VALUES (1, 1)")
        yield url
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    found: Driver = request.param
    return found


@pytest.fixture
def serve() -> Serve:
    """Serves on a database: `async with serve(url, driver, key=value) as client`."""

    @asynccontextmanager
    async def served(url: sa.URL, driver: Driver, **keys: Any) -> AsyncIterator[Client]:
        # gc: the process is the tests', its heap is not for freezing
        profile = EngineProfile(name="test", driver=driver, gc="default", **{"pool_size": 2, **keys})
        async with AsyncTestClient(make_app(make_database(profile, url))) as client:
            yield client

    return served


@pytest.fixture
async def client(books_url: sa.URL, driver: Driver, serve: Serve) -> AsyncIterator[Client]:
    async with serve(books_url, driver, loading="json") as opened:
        yield opened
