"""The service in this process, traced, on a database with a few books."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from datetime import date
from typing import Annotated, Any, get_args

import httpx
import pytest
import sqlalchemy as sa
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter, SkipValidation
from sqlalchemy.orm import Session

from bookstore.app import make_app
from bookstore.auth import tokens
from bookstore.auth.keyring import Keyring
from bookstore.database.unit_of_work import Database, make_database
from bookstore.http import authorization
from bookstore.observability import tracing
from bookstore.observability.request_spans import Spans
from bookstore.profile.engine_profile import Driver, EngineProfile

from .collector import Collector, collector

Traced = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
TOKEN, _WRITER = tokens.make("writer", ["catalog:write"], date(2026, 1, 1))
BOOKS = 25
_BOOKS = "INSERT INTO book (title) SELECT 'Book ' || n FROM generate_series(1, 25) n"


@pytest.fixture(scope="package")
def books_url(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[sa.URL]:
    """Books of an author and a genre each."""
    with own_database(
        _BOOKS,
        "INSERT INTO author (name) VALUES ('Ann')",
        "INSERT INTO genre (name, slug) VALUES ('Drama', 'drama')",
        "INSERT INTO book_author SELECT id, 0, 1 FROM book",
        "INSERT INTO book_genre SELECT id, 1 FROM book",
    ) as url:
        yield url


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    found: Driver = request.param
    return found


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """What this process sends, once the service stopped."""
    with collector() as taken:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taken.endpoint)
        yield taken


@get("/sql", opt=authorization.PUBLIC)
async def run_sql(
    database: NamedDependency[SkipValidation[Database]],
    statement: Annotated[str, QueryParameter()],
    secret: Annotated[str, QueryParameter()] = "",
) -> int:
    """Runs statements, with ;; between them, as one unit of work that writes; a route of these tests alone."""

    def work(session: Session) -> int:
        for one in statement.split(" ;; "):
            session.execute(sa.text(one), {"secret": secret} if ":secret" in one else {})
        return 1

    return await database.run(work)


@pytest.fixture
def traced(books_url: sa.URL, driver: Driver) -> Traced:
    """Serves, traced, and asks: `async with traced(key=value) as client`."""

    @asynccontextmanager
    async def served(**keys: Any) -> AsyncIterator[httpx.AsyncClient]:
        # gc: the process is the tests', its heap is not for freezing
        profile = EngineProfile(
            name="traced", driver=driver, gc="default", **{"pool_size": 2, "loading": "json", **keys}
        )
        spans = Spans(tracing.make_provider(profile))
        app = make_app(make_database(profile, books_url), known=Keyring((_WRITER,)), spans=spans)
        app.register(run_sql)
        # Not Litestar's test client: that one answers one request after the other.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type] # Litestar's types
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            yield client

    return served
