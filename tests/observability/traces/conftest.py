"""A traced service in this process, with a database of a few books."""

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
TOKEN, _WRITER = tokens.create("writer", ["catalog:write"], date(2026, 1, 1))
BOOKS = 25
_BOOKS = "INSERT INTO book (title) SELECT 'Book ' || n FROM generate_series(1, 25) n"


@pytest.fixture(scope="package")
def books_url(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[sa.URL]:
    """A database of books with one author and one genre each."""
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
    """The spans that this process has sent when the service has stopped."""
    with collector() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.endpoint)
        yield received


@get("/sql", opt=authorization.PUBLIC)
async def run_sql(
    database: NamedDependency[SkipValidation[Database]],
    statement: Annotated[str, QueryParameter()],
    secret: Annotated[str, QueryParameter()] = "",
) -> int:
    """Run statements, separated by ;;, as one writing unit of work. A route only of these tests."""

    def work(session: Session) -> int:
        for text in statement.split(" ;; "):
            session.execute(sa.text(text), {"secret": secret} if ":secret" in text else {})
        return 1

    return await database.run(work)


@pytest.fixture
def traced(books_url: sa.URL, driver: Driver) -> Traced:
    """Run a traced service: `async with traced(key=value) as client`."""

    @asynccontextmanager
    async def served(**keys: Any) -> AsyncIterator[httpx.AsyncClient]:
        # gc: the heap of the test process must not be frozen
        profile = EngineProfile(
            name="traced", driver=driver, gc="default", **{"pool_size": 2, "loading": "json", **keys}
        )
        spans = Spans(tracing.make_provider(profile))
        app = make_app(make_database(profile, books_url), known=Keyring((_WRITER,)), spans=spans)
        app.register(run_sql)
        # Not Litestar's test client, which sends requests one after the other.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type] # Litestar's types
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            yield client

    return served
