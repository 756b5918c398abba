"""Statements that PostgreSQL really takes long over, on every driver, and what the log says of them."""

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


class Heard(logging.Handler):
    """What was logged, with the request that it was logged for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        ours = {"id": request_id.current(), "route": request_id.route()}
        self.lines.append({**record.__dict__, "text": record.getMessage(), **ours})

    async def line(self) -> dict[str, Any]:
        """The next one."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.lines:  # noqa: ASYNC110 - a thread may log it
                await asyncio.sleep(0.01)
        return self.lines.pop(0)


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
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
    """Reads a book and sleeps in the same statement; a route of this test alone."""

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
    """Books with an index over titles that none of ours is."""
    with own_database(
        "INSERT INTO book (title) SELECT 'Book ' || n FROM generate_series(1, 3000) n",
        f"INSERT INTO book (title) VALUES ('{CANARY}')",  # noqa: S608 - this file's own text
        "CREATE INDEX test_title ON book (title)",
        "ANALYZE book",
    ) as url:
        yield url


async def test_a_slow_statement(
    books_url: sa.URL, driver: Driver, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told with its text, time, request and plan, without its parameters; the hash of the plan stays, whatever
    the parameters, and changes when the index is gone. A pool of one connection is enough."""
    async with served(books_url, driver, 0.05, max_overflow=0) as client:
        query = {"title": "Book 7", "seconds": "0.06"}
        assert (await client.get("/slow", params=query, headers={"X-Request-ID": "a"})).json() == 1
        line = await heard.line()
        assert (line["text"], line["levelname"]) == ("slow statement", "WARNING")
        assert (line["id"], line["route"]) == ("a", "/slow")
        assert line["duration_ms"] > 50
        assert line["rows"] == 1
        assert line["statement"].startswith("SELECT count(*) FROM (SELECT FROM book WHERE title = $1")
        assert "0.06" not in str(line)
        assert len(line["plan_hash"]) == 12

        monkeypatch.setattr(slow_statements, "EXPLAIN_EVERY_S", 0.0)
        await client.get("/slow", params={"title": "Book 8", "seconds": "0.07"}, headers={"X-Request-ID": "b"})
        again = await heard.line()
        assert (again["id"], again["plan_hash"]) == ("b", line["plan_hash"])

        with psycopg.connect(conninfo(books_url)) as connection:
            connection.execute("DROP INDEX test_title")
        await client.get("/slow", params=query)
        assert (await heard.line())["plan_hash"] not in {line["plan_hash"], None}
        assert heard.lines == []


async def test_every_statement_is_slow(books_url: sa.URL, driver: Driver, heard: Heard) -> None:
    """With a limit of 0 each is told, however fast it was."""
    async with served(books_url, driver, 0.0) as client:
        await client.get("/slow", params={"title": "nobody's"})
        assert (await heard.line())["text"] == "slow statement"


async def test_one_plan_a_minute(books_url: sa.URL, driver: Driver, heard: Heard) -> None:
    """Slow statements of one text are explained once; each is told."""
    async with served(books_url, driver, 0.02, pool_size=3) as client:
        query = {"title": "Book 7", "seconds": "0.03"}
        await asyncio.gather(*(client.get("/slow", params=query, headers={"X-Request-ID": f"{n}"}) for n in range(6)))
        lines = [await heard.line() for _ in range(6)]
        assert {line["id"] for line in lines} == {f"{n}" for n in range(6)}
        assert len({line["plan_hash"] for line in lines}) == 1
        with psycopg.connect(conninfo(books_url)) as connection:
            connection.execute("DROP INDEX test_title")
        await client.get("/slow", params=query)
        assert (await heard.line())["plan_hash"] == lines[0]["plan_hash"]


async def test_a_statement_that_fails(books_url: sa.URL, driver: Driver, heard: Heard) -> None:
    """One that PostgreSQL ended for its time is told as failed; a fast one is not told."""
    async with served(books_url, driver, 0.05, statement_timeout=0.1) as client:
        assert (await client.get("/slow", params={"title": CANARY, "seconds": "5"})).status_code == 503
        line = await heard.line()
        assert line["failed"] is True
        assert line["duration_ms"] > 50
        assert CANARY not in str(line)
        assert (await client.get("/slow", params={"title": "Book 7"})).json() == 1
    assert heard.lines == []
