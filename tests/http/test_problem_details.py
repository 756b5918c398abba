"""Real failures of PostgreSQL with every driver, and the problems that clients receive for them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Annotated, Any, get_args

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter, SkipValidation
from sqlalchemy.orm import Session

from bookstore.app import make_app
from bookstore.database import sqlstate
from bookstore.database.unit_of_work import Database, make_database
from bookstore.database.url import conninfo
from bookstore.exceptions import PROBLEM_TYPES, ApiError, FieldError
from bookstore.http import authorization, problem_details
from bookstore.profile.engine_profile import Driver, EngineProfile

pytestmark = pytest.mark.anyio

Client = httpx.AsyncClient
Observer = psycopg.Connection[Any]
PATIENCE_S = 20.0
ROLE = "bookstore_test_limited"
CANARY = "c4n@ry"
SECRETS = ["127.0.0.1", "pg_sleep", "UPDATE", "SELECT", "book", "postgres", ROLE, CANARY, "Traceback", "socket"]


@pytest.fixture(scope="module")
def shared_url(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[sa.URL]:
    """A migrated database with two books."""
    with own_database(
        "INSERT INTO book (title) VALUES ('A'), ('B')",
    ) as url:
        yield url


@pytest.fixture
def observer(shared_url: sa.URL) -> Iterator[Observer]:
    with psycopg.connect(conninfo(shared_url), autocommit=True) as connection:
        yield connection


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


_SEPARATOR = " ;; "
"""Separates statements."""


@get("/sql", opt=authorization.PUBLIC)
async def run_sql(
    database: NamedDependency[SkipValidation[Database]],
    statements: Annotated[str, QueryParameter()],
    secret: Annotated[str, QueryParameter()] = "",
) -> int:
    """A route only for these tests: runs statements as one writing unit of work."""

    def work(session: Session) -> int:
        for statement in statements.split(_SEPARATOR):
            session.execute(sa.text(statement), {"secret": secret} if ":secret" in statement else {})
        return len(statements.split(_SEPARATOR))

    return await database.run(work)


@asynccontextmanager
async def served(url: sa.URL, driver: Driver, **keys: Any) -> AsyncIterator[Client]:
    profile = EngineProfile(name=f"errors-{driver}", driver=driver, gc="default", **{"pool_size": 2, **keys})
    app = make_app(make_database(profile, url))
    app.register(run_sql)
    # Not Litestar's test client, which handles requests one after another.
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type] # Litestar types its messages more strictly
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
        yield client


def sql(client: Client, *statements: str, **query: str) -> Awaitable[Any]:
    return client.get("/sql", params={"statements": _SEPARATOR.join(statements), **query})


def is_unavailable(response: Any, code: str) -> bool:
    """Check that the response is a 503 with this code and Retry-After, without internal details."""
    body = response.json()
    shape = (response.status_code, body["status"], body["code"], response.headers["content-type"])
    assert shape == (503, 503, code, "application/problem+json"), response.text
    assert response.headers["retry-after"].isdigit()
    assert [secret for secret in SECRETS if secret in response.text.replace("/books", "")] == []
    return True


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def waiting(observer: Observer, driver: Driver, event: str) -> int:
    row = observer.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name LIKE %s AND (wait_event_type = %s OR wait_event = %s)",
        [f"bookstore/errors-{driver}/%", event, event],
    ).fetchone()
    assert row
    return int(row[0])


async def test_refused_connection(shared_url: sa.URL, driver: Driver) -> None:
    """If nothing listens at the address, the response is 503 db_unavailable."""
    url = shared_url.set(host="127.0.0.1", port=1, query={}, password=CANARY)
    async with served(url, driver) as client:
        assert is_unavailable(await sql(client, "SELECT 1"), "db_unavailable")


async def test_unknown_host(shared_url: sa.URL, driver: Driver) -> None:
    """If the host name does not resolve, the response is 503 db_unavailable."""
    async with served(shared_url.set(host="nowhere.invalid", port=5432, query={}), driver) as client:
        assert is_unavailable(await sql(client, "SELECT 1"), "db_unavailable")


@pytest.mark.parametrize("missing", [{"database": "gone"}, {"username": "nobody_of_ours"}], ids=["database", "role"])
async def test_login_fails(shared_url: sa.URL, driver: Driver, missing: dict[str, str]) -> None:
    """If the database or role does not exist, the response is 503; the service keeps running."""
    async with served(shared_url.set(**missing), driver) as client:  # type: ignore[arg-type]
        assert is_unavailable(await sql(client, "SELECT 1"), "db_unavailable")


async def test_statement_timeout(shared_url: sa.URL, driver: Driver) -> None:
    """A statement that exceeds statement_timeout is 503 db_timeout."""
    async with served(shared_url, driver, statement_timeout=0.1) as client:
        assert is_unavailable(await sql(client, "SELECT pg_sleep(60)"), "db_timeout")
        assert (await sql(client, "SELECT 1")).status_code == 200


async def test_lock_timeout(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """A lock that is not acquired in time is 503 db_timeout."""
    async with served(shared_url, driver) as client:
        with observer.transaction():
            observer.execute("LOCK TABLE author IN ACCESS EXCLUSIVE MODE")
            answer = await sql(client, "SET LOCAL lock_timeout = '50ms'", "SELECT count(*) FROM author")
        assert is_unavailable(answer, "db_timeout")


async def test_terminated_backend(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """A session that is terminated during a statement is 503 db_unavailable."""
    async with served(shared_url, driver) as client:
        request = asyncio.ensure_future(sql(client, "SELECT pg_sleep(60)"))
        await until(lambda: waiting(observer, driver, "PgSleep") == 1)
        observer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s",
            [f"bookstore/errors-{driver}/%"],
        )
        assert is_unavailable(await request, "db_unavailable")


async def test_too_many_connections(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """Beyond the role's CONNECTION LIMIT the response is 503, and 200 again once the limit allows it."""
    observer.execute(f"DROP ROLE IF EXISTS {ROLE}")
    observer.execute(f"CREATE ROLE {ROLE} LOGIN CONNECTION LIMIT 1 PASSWORD '{CANARY}'")
    try:
        url = shared_url.set(username=ROLE, password=CANARY)
        with psycopg.connect(conninfo(url)):
            async with served(url, driver) as client:
                assert is_unavailable(await sql(client, "SELECT 1"), "db_unavailable")
                observer.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 2")
                assert (await sql(client, "SELECT 1")).status_code == 200
    finally:
        observer.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [ROLE])
        observer.execute(f"DROP ROLE {ROLE}")


async def test_read_only(shared_url: sa.URL, driver: Driver) -> None:
    """On a read-only database, a write is 503 and a read succeeds."""
    async with served(shared_url, driver) as client:
        answer = await sql(client, "SET TRANSACTION READ ONLY", "UPDATE book SET title = title")
        assert is_unavailable(answer, "db_unavailable")
        assert (await sql(client, "SET TRANSACTION READ ONLY", "SELECT 1")).status_code == 200


async def test_serialization_failure(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """A serialization failure is retried; if it happens every time, the response is 503 db_conflict."""
    snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    write = "UPDATE book SET version = 9 WHERE title = 'A'"
    async with served(shared_url, driver) as client:
        with observer.transaction():
            observer.execute("UPDATE book SET version = version + 1 WHERE title = 'A'")
            late = asyncio.ensure_future(sql(client, snapshot, "SELECT 1", write))
            await until(lambda: waiting(observer, driver, "Lock") == 1)
        assert (await late).status_code == 200
        always = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$"
        assert is_unavailable(await sql(client, always), "db_conflict")


async def test_deadlock(shared_url: sa.URL, driver: Driver) -> None:
    """After a deadlock, one request is retried and both succeed."""
    first, second = (f"SELECT pg_advisory_xact_lock({number})" for number in (71, 72))
    rest = "SELECT pg_sleep(0.2)"  # both acquire their first lock meanwhile; otherwise there is no deadlock
    quick = "SET LOCAL deadlock_timeout = '10ms'"
    async with served(shared_url, driver) as client:
        answers = await asyncio.gather(sql(client, quick, first, rest, second), sql(client, quick, second, rest, first))
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_exhausted_pool(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """If all connections are in use, the response is 503 pool_exhausted."""
    async with served(shared_url, driver, pool_size=1, pool_timeout=0.1) as client:
        observer.execute("SELECT pg_advisory_lock(73)")
        holder = asyncio.ensure_future(sql(client, "SELECT pg_advisory_xact_lock(73)"))
        await until(lambda: waiting(observer, driver, "Lock") == 1)
        assert is_unavailable(await sql(client, "SELECT 1"), "pool_exhausted")
        assert is_unavailable(await client.get("/books"), "pool_exhausted")
        observer.execute("SELECT pg_advisory_unlock(73)")
        assert (await holder).status_code == 200


async def test_overload(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """If the queue is full, the response is an immediate 503 overloaded; queued requests and probes are served."""
    async with served(shared_url, driver, pool_size=1, max_waiting=1, pool_timeout=PATIENCE_S) as client:
        assert (await client.get("/health/ready")).status_code == 200
        observer.execute("SELECT pg_advisory_lock(74)")
        holders = [asyncio.ensure_future(sql(client, "SELECT pg_advisory_xact_lock(74)"))]
        await until(lambda: waiting(observer, driver, "Lock") == 1)
        answers = [asyncio.ensure_future(client.get("/books")) for _ in range(4)]
        await until(lambda: sum(answer.done() for answer in answers) == 3)
        assert all(is_unavailable(answer.result(), "overloaded") for answer in answers if answer.done())
        assert (await client.get("/health/live")).status_code == 200
        observer.execute("SELECT pg_advisory_unlock(74)")
        done = await asyncio.gather(*holders, *answers)
        assert sorted(answer.status_code for answer in done) == [200, 200, 503, 503, 503]
        assert [(await client.get("/books")).status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1/0 + length(:secret)", "SELECT cast(:secret AS int)", "SELEKT :secret"],
)
async def test_bug(shared_url: sa.URL, driver: Driver, statement: str, caplog: pytest.LogCaptureFixture) -> None:
    """A bug is 500 and logged once with its traceback; neither body nor log contains parameter values."""
    async with served(shared_url, driver) as client:
        with caplog.at_level(logging.WARNING):
            answer = await sql(client, statement, secret=CANARY)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["type"] == "/problems#internal"
    assert [secret for secret in SECRETS if secret in answer.text] == []
    (record,) = [record for record in caplog.records if record.name == "bookstore"]
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("statement", "status", "code"),
    [
        (
            "INSERT INTO book (title, isbn13) VALUES (:secret, '9780439023481'), ('B', '9780439023481')",
            409,
            "isbn_taken",
        ),
        ("INSERT INTO genre (name, slug) VALUES (:secret, 'a'), (:secret, 'b')", 409, "name_taken"),
        ("INSERT INTO book_genre SELECT id, 99 FROM book WHERE title <> :secret", 409, "in_use"),
        ("INSERT INTO book (title) VALUES (left(:secret, 0))", 400, "invalid_parameter"),
        ("INSERT INTO book (title, language) VALUES ('A', 'much too long' || :secret)", 400, "invalid_parameter"),
        ("SELECT 2147483647 + length(:secret)", 400, "invalid_parameter"),
        ("SELECT convert_from('\\x00', 'UTF8') || :secret", 400, "invalid_parameter"),
    ],
)
async def test_rejected_by_the_database(
    shared_url: sa.URL, driver: Driver, statement: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that only the database rejects is a client error, not a bug, and is logged in one line."""
    async with served(shared_url, driver) as client:
        with caplog.at_level(logging.WARNING):
            answer = await sql(client, statement, secret=CANARY)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert [secret for secret in SECRETS if secret in answer.text.replace("Another book", "")] == []
    assert f"GET /sql: {'invalid_body' if status == 400 else code}: " in caplog.text


async def test_log_has_no_parameters(shared_url: sa.URL, driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """The traceback of a failed statement shows the statement, never its parameters."""
    async with served(shared_url, driver) as client:
        with caplog.at_level(logging.WARNING):
            answer = await sql(client, "SELECT 1 / 0, :secret", secret=CANARY)
    assert answer.status_code == 500
    assert "SELECT 1 / 0" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    "error", [LookupError("x"), ValueError("x"), AssertionError(), sa.exc.InvalidRequestError("x")]
)
async def test_bugs_are_not_failures(error: Exception) -> None:
    """An exception that does not come from the database is not a database failure."""
    assert sqlstate.server_problem(error) is None


async def test_wrapped_failure() -> None:
    """An exception caused by a database failure is a database failure, too."""
    outer = RuntimeError("wrapped")
    outer.__cause__ = ConnectionRefusedError()
    assert sqlstate.server_problem(outer) == ("db_unavailable", "The database cannot be reached.")
    outer.__cause__ = outer
    assert sqlstate.server_problem(outer) is None


async def test_missing_schema(shared_url: sa.URL, driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """A missing table is a database failure: 503, and the log names the table."""
    async with served(shared_url, driver) as client:
        assert is_unavailable(await sql(client, "SELECT * FROM not_migrated"), "db_unavailable")
    assert 'relation "not_migrated" does not exist' in caplog.text


async def test_missing_file() -> None:
    """An OSError that is unrelated to the database is not a database failure."""
    assert sqlstate.server_problem(FileNotFoundError("template.html")) is None
    assert sqlstate.server_problem(PermissionError("template.html")) is None


@pytest.mark.parametrize("code", PROBLEM_TYPES)
async def test_api_error_response(code: str) -> None:
    """An ApiError becomes a response with its code's status, title and type, and its own detail, errors and headers."""
    error = ApiError(code, "Why.", FieldError("Wrong.", pointer="/a"), headers={"X-Kind": code})
    response = problem_details.problem_response("GET", "/books/1", error)
    body = json.loads(response.content)
    assert body == {
        "type": f"/problems#{code}", "title": PROBLEM_TYPES[code].title, "status": PROBLEM_TYPES[code].status,
        "detail": "Why.", "instance": "/books/1", "code": code, "errors": [{"detail": "Wrong.", "pointer": "/a"}],
    }  # fmt: skip
    assert response.status_code == PROBLEM_TYPES[code].status
    assert response.headers["X-Kind"] == code
    assert ("Retry-After" in response.headers) is (response.status_code == 503)


async def test_retry_after_varies() -> None:
    """Retry-After varies between 1 and 5 whole seconds."""
    assert {problem_details.retry_after() for _ in range(1000)} == {"1", "2", "3", "4", "5"}


async def test_errors_of_the_framework(shared_url: sa.URL) -> None:
    """Errors that Litestar raises are problems like all others."""
    async with served(shared_url, "asyncpg") as client:
        for method, path, headers, status, code in [
            ("GET", "/nothing", {}, 404, "not_found"),
            ("PATCH", "/sql", {}, 405, "method_not_allowed"),
            ("GET", "/sql", {"Host": "a b"}, 400, "unknown_host"),
            ("GET", "/sql", {}, 400, "invalid_parameter"),
        ]:
            answer = await client.request(method, path, headers=headers)
            body = answer.json()
            assert (answer.status_code, body["code"], body["instance"]) == (status, code, path), answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert ("allow" in answer.headers) is (status == 405)
        assert body["errors"] == [{"detail": "This parameter is required.", "parameter": "statements"}]


async def test_head_error(shared_url: sa.URL) -> None:
    """A failed HEAD has the status and headers of GET, but no body."""
    async with served(shared_url, "asyncpg") as client:
        answer = await client.head("/sql")
    assert (answer.status_code, answer.content) == (400, b"")
    assert int(answer.headers["content-length"]) > 0  # GET's


async def test_hostile_path(shared_url: sa.URL, caplog: pytest.LogCaptureFixture) -> None:
    """The path is percent-encoded, so it can forge neither log lines nor markup."""
    scope: Any = {"type": "http", "method": "GET", "path": "/a\r\nERROR <b>\x00", "headers": []}
    request: Request[Any, Any, Any] = Request(scope)
    response = problem_details.exception_response(request, LookupError("x"))
    assert json.loads(response.content)["instance"] == "/a%0D%0AERROR%20%3Cb%3E%00"
    assert "GET /a%0D%0AERROR" in caplog.text
