"""The log lines of statements that are really slow in PostgreSQL, with every driver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Annotated, Any, Final, get_args

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter, SkipValidation
from sqlalchemy.orm import Session

from bookstore.app import make_app
from bookstore.database.unit_of_work import Database, make_database
from bookstore.database.url import conninfo
from bookstore.http import authorization, request_id
from bookstore.observability import slow_statements
from bookstore.profile.engine_profile import Driver, EngineProfile

pytestmark = pytest.mark.anyio

CANARY: Final = "c4n4ry"
PATIENCE_S = 20.0
SLOW = sa.text(
    "SELECT count(*) FROM (SELECT FROM book WHERE title = :title OFFSET 0) AS one WHERE pg_sleep(:seconds) IS NOT NULL"
)
"""Sleeps once for each book with the title."""


class LogRecorder(logging.Handler):
    """Records the log, with the ID and route of the current request."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        ours = {"id": request_id.current(), "route": request_id.route()}
        self.lines.append({**record.__dict__, "text": record.getMessage(), **ours})

    async def line(self) -> dict[str, Any]:
        """Wait for the next line."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.lines:  # noqa: ASYNC110 - a thread may log it
                await asyncio.sleep(0.01)
        return self.lines.pop(0)


@pytest.fixture
def recorder() -> Iterator[LogRecorder]:
    handler = LogRecorder()
    logger = logging.getLogger("bookstore.statement")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    found: Driver = request.param
    return found


@get("/slow", opt=authorization.PUBLIC)
async def slow(
    database: NamedDependency[SkipValidation[Database]],
    title: Annotated[str, QueryParameter()],
    seconds: Annotated[float, QueryParameter()] = 0,
) -> int:
    """Read a book and sleep in the same statement. A route only of this test."""

    def work(session: Session) -> int:
        found: int = session.execute(SLOW, {"title": title, "seconds": seconds}).scalar_one()
        return found

    return await database.run(work, reading=True)


@asynccontextmanager
async def served(url: sa.URL, driver: Driver, longest_s: float, **keys: Any) -> AsyncIterator[httpx.AsyncClient]:
    profile = EngineProfile(name=f"slow-{driver}", driver=driver, gc="default", **{"pool_size": 1, **keys})
    app = make_app(make_database(profile, url), slow_statement_s=longest_s)
    app.register(slow)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type] # Litestar types its messages more strictly
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
        yield client


@pytest.fixture
def books_url(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[sa.URL]:
    """A database of books with an additional index on titles."""
    with own_database(
        "INSERT INTO book (title) SELECT 'Book ' || n FROM generate_series(1, 3000) n",
        f"INSERT INTO book (title) VALUES ('{CANARY}')",  # noqa: S608 - this file's own text
        "CREATE INDEX test_title ON book (title)",
        "ANALYZE book",
    ) as url:
        yield url


async def test_a_slow_statement(
    books_url: sa.URL, driver: Driver, recorder: LogRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow statement is logged with its text, duration, request and plan, without its parameters. The plan's hash
    does not depend on parameters, and changes without the index. A pool of one connection is enough."""
    async with served(books_url, driver, 0.05, max_overflow=0) as client:
        query = {"title": "Book 7", "seconds": "0.06"}
        assert (await client.get("/slow", params=query, headers={"X-Request-ID": "a"})).json() == 1
        line = await recorder.line()
        assert (line["text"], line["levelname"]) == ("slow statement", "WARNING")
        assert (line["id"], line["route"]) == ("a", "/slow")
        assert line["duration_ms"] > 50
        assert line["rows"] == 1
        assert line["statement"].startswith("SELECT count(*) FROM (SELECT FROM book WHERE title = $1")
        assert "0.06" not in str(line)
        assert len(line["plan_hash"]) == 12

        monkeypatch.setattr(slow_statements, "EXPLAIN_EVERY_S", 0.0)
        await client.get("/slow", params={"title": "Book 8", "seconds": "0.07"}, headers={"X-Request-ID": "b"})
        again = await recorder.line()
        assert (again["id"], again["plan_hash"]) == ("b", line["plan_hash"])

        with psycopg.connect(conninfo(books_url)) as connection:
            connection.execute("DROP INDEX test_title")
        await client.get("/slow", params=query)
        assert (await recorder.line())["plan_hash"] not in {line["plan_hash"], None}
        assert recorder.lines == []


async def test_limit_of_zero(books_url: sa.URL, driver: Driver, recorder: LogRecorder) -> None:
    """With a limit of 0 every statement is logged."""
    async with served(books_url, driver, 0.0) as client:
        await client.get("/slow", params={"title": "nobody's"})
        assert (await recorder.line())["text"] == "slow statement"


async def test_one_plan_a_minute(books_url: sa.URL, driver: Driver, recorder: LogRecorder) -> None:
    """Slow statements with the same text are explained once, and each is logged."""
    async with served(books_url, driver, 0.02, pool_size=3) as client:
        query = {"title": "Book 7", "seconds": "0.03"}
        await asyncio.gather(*(client.get("/slow", params=query, headers={"X-Request-ID": f"{n}"}) for n in range(6)))
        lines = [await recorder.line() for _ in range(6)]
        assert {line["id"] for line in lines} == {f"{n}" for n in range(6)}
        assert len({line["plan_hash"] for line in lines}) == 1
        with psycopg.connect(conninfo(books_url)) as connection:
            connection.execute("DROP INDEX test_title")
        await client.get("/slow", params=query)
        assert (await recorder.line())["plan_hash"] == lines[0]["plan_hash"]


async def test_a_statement_that_fails(books_url: sa.URL, driver: Driver, recorder: LogRecorder) -> None:
    """A statement that PostgreSQL cancelled after its timeout is logged as failed; a fast one is not logged."""
    async with served(books_url, driver, 0.05, statement_timeout=0.1) as client:
        assert (await client.get("/slow", params={"title": CANARY, "seconds": "5"})).status_code == 503
        line = await recorder.line()
        assert line["failed"] is True
        assert line["duration_ms"] > 50
        assert CANARY not in str(line)
        assert (await client.get("/slow", params={"title": "Book 7"})).json() == 1
    assert recorder.lines == []
