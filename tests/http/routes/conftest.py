"""Fixtures: the service on a database with a few books, used through its HTTP interface."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from datetime import date
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import AsyncTestClient

from bookstore.app import make_app
from bookstore.auth.keyring import Keyring
from bookstore.auth.tokens import create
from bookstore.database.unit_of_work import make_database
from bookstore.profile.engine_profile import Driver, EngineProfile

Client = AsyncTestClient[Litestar]
Serve = Callable[..., AbstractAsyncContextManager[Client]]

TOKEN, _WRITER = create("writer", ["catalog:write"], date(2026, 1, 1))
OTHER_TOKEN, _OTHER = create("other", ["catalog:write"], date(2026, 1, 1))
WRITERS = Keyring((_WRITER, _OTHER))
CATALOGUE = (
    "INSERT INTO author (name) VALUES ('Ann'), ('Ben')",
    "INSERT INTO genre (name, slug) VALUES ('Drama', 'drama'), ('Poetry', 'poetry')",
    "INSERT INTO book (title, isbn13, publication_year, language) VALUES ('Emma', '9780439023481', 1815, 'en')",
    "INSERT INTO book_author VALUES (1, 0, 2), (1, 1, 1)",
    "INSERT INTO book_genre VALUES (1, 1)",
)
"""Book 1 has authors 2 and 1, in that order, and genre 1; no book has genre 2."""


@pytest.fixture(scope="session")
def books_url(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[sa.URL]:
    """A database with books 1 to 25, the first with an author and a genre."""
    with own_database(
        "INSERT INTO book (title) SELECT 'Book ' || n FROM generate_series(1, 25) n",
        "INSERT INTO author (name) VALUES ('Ann')",
        "INSERT INTO genre (name, slug) VALUES ('Drama', 'drama')",
        "INSERT INTO book_author VALUES (1, 0, 1)",
        "INSERT INTO book_genre VALUES (1, 1)",
    ) as url:
        yield url


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


@pytest.fixture
def serve() -> Serve:
    """Serves a database: `async with serve(url, driver, key=value) as client`."""

    @asynccontextmanager
    async def served(url: sa.URL, driver: Driver, **keys: Any) -> AsyncIterator[Client]:
        # gc: the heap of the test process must not be frozen
        profile = EngineProfile(name="test", driver=driver, gc="default", **{"pool_size": 2, **keys})
        async with AsyncTestClient(make_app(make_database(profile, url), known=WRITERS)) as client:
            yield client

    return served


@pytest.fixture
async def writer(own_database: Callable[..., Any], driver: Driver, serve: Serve) -> AsyncIterator[Client]:
    """A client with a token, on its own database with CATALOGUE."""
    with own_database(*CATALOGUE) as url:
        async with serve(url, driver, loading="json") as client:
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            yield client


@pytest.fixture
async def client(books_url: sa.URL, driver: Driver, serve: Serve) -> AsyncIterator[Client]:
    async with serve(books_url, driver, loading="json") as client:
        yield client
