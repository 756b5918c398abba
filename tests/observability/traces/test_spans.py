"""The spans of real requests with every driver, as a collector receives them."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from bookstore.profile.engine_profile import Driver

from .collector import INTERNAL, SERVER, Collector
from .conftest import BOOKS, TOKEN, Traced

pytestmark = pytest.mark.anyio

CANARY = "c4n4ry"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_request_is_a_tree(traced: Traced, collected: Collector, driver: Driver, books_url: sa.URL) -> None:
    """A request has a span named after its route, with a unit of work below it and its statements below that."""
    async with traced() as client:
        assert (await client.get("/books/1?utm=no")).status_code == 400
        assert (await client.get("/books/1")).status_code == 200
    (rejected, request) = (span for span in collected.spans if span.kind == SERVER)
    assert collected.children(rejected) == []
    assert (request.name, request.parent_id, request.is_error) == ("GET /books/{book_id}", "", False)
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/books/{book_id}",
        "http.response.status_code": 200,
        "url.path": "/books/1",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "test",
    }
    (unit,) = collected.children(request)
    assert (unit.name, unit.kind, unit.is_error) == ("unit of work", INTERNAL, False)
    assert unit.attributes.pop("bookstore.wait_ms") >= 0
    assert unit.attributes == {"bookstore.driver": driver, "bookstore.loading": "json", "bookstore.outcome": "read"}
    statements = collected.children(unit)
    assert statements == collected.statements() != []
    for statement in statements:
        assert statement.name == f"SELECT {books_url.database}"
        assert statement.attributes["db.system.name"] == "postgresql"
        assert statement.attributes["db.operation.name"] == "SELECT"
        assert statement.attributes["db.namespace"] == books_url.database
        assert statement.attributes["server.address"] == (books_url.host or books_url.query["host"])
        assert statement.attributes["server.port"] == int(str(books_url.port or books_url.query["port"]))
        assert statement.attributes["db.response.returned_rows"] == 1
        assert "FROM book" in statement.attributes["db.query.text"]
        assert ("$1" if driver == "asyncpg" else "%(") in statement.attributes["db.query.text"]


async def test_resource(traced: Traced, collected: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resource has the service, its version, process and profile; the environment overrides the name."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "books-of-berlin")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    async with traced() as client:
        await client.get("/books/1")
    (resource,) = collected.resources
    assert resource["service.name"] == "books-of-berlin"
    assert resource["deployment.environment.name"] == "test"
    assert resource["bookstore.profile"] == "traced"
    assert resource["service.version"]
    assert resource["service.instance.id"]


@pytest.mark.parametrize(("loading", "least", "most"), [("lazy", 2 * BOOKS, 2 * BOOKS + 2), ("json", 1, 2)])
async def test_n_plus_1_is_visible(traced: Traced, collected: Collector, loading: str, least: int, most: int) -> None:
    """With lazy loading a list has two statements for each of its books, in one unit of work."""
    async with traced(loading=loading) as client:
        assert len((await client.get("/books", params={"limit": BOOKS})).json()["items"]) == BOOKS
    (unit,) = (span for span in collected.spans if span.kind == INTERNAL)
    assert least <= len(collected.children(unit)) <= most
    assert len(collected.children(unit)) == len(collected.statements())


async def test_outcome_of_a_write(traced: Traced, collected: Collector) -> None:
    """A successful write is committed. One that the database rejects is rolled back, and its statement has the SQLSTATE
    but no value. The request is no error, because the client caused it."""
    insert = "INSERT INTO genre (name, slug) VALUES (:secret, 'told')"
    async with traced() as client:
        for status in (200, 409):
            answer = await client.get("/sql", params={"statement": insert, "secret": CANARY})
            assert answer.status_code == status
        await client.get("/sql", params={"statement": "DELETE FROM genre WHERE name = :secret", "secret": CANARY})
    units = [span for span in collected.spans if span.kind == INTERNAL]
    assert [unit.attributes["bookstore.outcome"] for unit in units] == ["committed", "rolled back", "committed"]
    assert [span.attributes["db.operation.name"] for span in collected.statements()] == ["INSERT", "INSERT", "DELETE"]
    (failed,) = (span for span in collected.statements() if span.is_error)
    assert (failed.attributes["db.response.status_code"], failed.attributes["error.type"]) == ("23505", "23505")
    assert not any(span.is_error for span in collected.spans if span.kind == SERVER)
    assert not any(CANARY.encode() in body for body in collected.bodies)


async def test_unexpected_error(traced: Traced, collected: Collector, driver: Driver) -> None:
    """A 500 is an error with its stack frames. No span contains the client's data or the exception's message."""
    async with traced() as client:
        answer = await client.get("/sql", params={"statement": "SELECT cast(:secret AS int)", "secret": CANARY})
        assert answer.status_code == 500
    request = collected.named("GET /sql")
    state = "22000" if driver == "asyncpg" else "22P02"  # asyncpg rejects it before sending
    assert (request.is_error, request.status_message, request.attributes["error.type"]) == (True, "", state)
    ((name, attributes),) = request.events
    assert name == "exception"
    assert "in run_sql" in attributes["exception.stacktrace"]
    assert "exception.message" not in attributes
    (unit,) = collected.children(request)
    assert (unit.is_error, unit.attributes["bookstore.outcome"]) == (True, "rolled back")
    (statement,) = collected.children(unit)
    assert (statement.is_error, statement.attributes["db.response.status_code"]) == (True, state)
    assert answer.json()["trace_id"] == request.trace_id
    assert not any(CANARY.encode() in body for body in collected.bodies)


async def test_no_secret_is_in_a_span(traced: Traced, collected: Collector, books_url: sa.URL) -> None:
    """No span contains tokens, query strings, bodies, headers, statement parameters or the database password."""
    headers = {"Authorization": f"Bearer {CANARY}", "Cookie": CANARY, "User-Agent": CANARY, "X-Forwarded-For": CANARY}
    async with traced() as client:
        for query in (f"?q={CANARY}", f"?isbn={CANARY}", f"?cursor={CANARY}", f"?{CANARY}=1"):
            await client.get(f"/books{query}", headers={**headers, "Authorization": f"Bearer {TOKEN}"})
        await client.post("/books", json={"title": CANARY}, headers=headers)
        created = await client.post("/books", json={"title": CANARY}, headers={"Authorization": f"Bearer {TOKEN}"})
        assert created.status_code == 201
        await client.delete(
            created.headers["location"],
            headers={"Authorization": f"Bearer {TOKEN}", "If-Match": created.headers["etag"]},
        )
    assert len([span for span in collected.spans if span.kind == SERVER]) == 7
    assert len({span.attributes["http.response.status_code"] for span in collected.spans if span.kind == SERVER}) >= 4
    password = str(books_url.password or "no password")
    for body in collected.bodies:
        assert not any(secret.encode() in body for secret in (CANARY, TOKEN, password, "traced/"))


@pytest.mark.parametrize(
    ("propagators", "sent", "is_continued", "is_sampled"),
    [
        (None, PARENT, True, True),
        ("tracecontext,baggage", PARENT, True, True),
        (None, PARENT[:-1] + "0", True, False),
        (None, "nonsense", False, True),
        ("none", PARENT, False, True),
        ("none", PARENT[:-1] + "0", False, True),
    ],
)
@pytest.mark.parametrize("driver", ["asyncpg"], indirect=True)
async def test_propagation(
    traced: Traced,
    collected: Collector,
    monkeypatch: pytest.MonkeyPatch,
    propagators: str | None,
    sent: str,
    is_continued: bool,
    is_sampled: bool,
) -> None:
    """A request continues the trace of its `traceparent` and follows its sampling decision, unless OTEL_PROPAGATORS
    disables that."""
    if propagators:
        monkeypatch.setenv("OTEL_PROPAGATORS", propagators)
    async with traced() as client:
        answer = await client.get("/books/999", headers={"traceparent": sent})
        assert answer.status_code == 404
    trace_id, span_id = PARENT.split("-")[1:3]
    assert (answer.json()["trace_id"] == trace_id) == is_continued
    assert bool(collected.spans) == is_sampled
    if is_sampled:
        request = collected.named("GET /books/{book_id}")
        assert request.trace_id == answer.json()["trace_id"]
        assert request.parent_id == (span_id if is_continued else "")
        assert {span.trace_id for span in collected.spans} == {request.trace_id}


@pytest.mark.parametrize("driver", ["asyncpg"], indirect=True)
async def test_requests_without_a_route(traced: Traced, collected: Collector) -> None:
    """Requests that the gate rejects or that match no route have a span without a route, and a trace ID in their
    problem."""
    async with traced() as client:
        answers = [
            await client.get("/nothing-here"),
            await client.get("/books", headers={"Host": "/"}),
            await client.request("BREW", "/books"),
            await client.head("/books/999"),
        ]
    assert [answer.status_code for answer in answers] == [404, 400, 405, 404]
    assert [span.name for span in collected.spans if span.kind == SERVER] == [
        "GET", "GET", "HTTP", "HEAD /books/{book_id}",
    ]  # fmt: skip
    brewed = collected.named("HTTP")
    assert brewed.attributes["http.request.method"] == "_OTHER"
    assert [answer.json()["trace_id"] for answer in answers[:3]] == [
        span.trace_id for span in collected.spans if span.kind == SERVER
    ][:3]


async def test_probes_are_not_traced(traced: Traced, collected: Collector) -> None:
    """Health checks, their statements and the filling of the pool create no spans."""
    async with traced() as client:
        for path in ("/health/live", "/health/ready"):
            assert (await client.get(path)).status_code == 200
    assert collected.spans == []


async def test_wait_for_a_connection(traced: Traced, collected: Collector) -> None:
    """The span of a unit of work has the time that it waited for the only connection."""
    async with traced(pool_size=1, max_overflow=0) as client:
        query = {"statement": "SELECT pg_sleep(0.3)"}
        answers = await asyncio.gather(client.get("/sql", params=query), client.get("/sql", params=query))
        assert [answer.status_code for answer in answers] == [200, 200]
    waits = [span.attributes["bookstore.wait_ms"] for span in collected.spans if span.kind == INTERNAL]
    assert max(waits) > 200


async def test_no_connection(traced: Traced, collected: Collector) -> None:
    """A unit of work without a connection has not begun, and its request is an error."""
    async with traced(pool_size=1, max_overflow=0, pool_timeout=0.1) as client:
        blocker = asyncio.create_task(client.get("/sql", params={"statement": "SELECT pg_sleep(1)"}))
        await asyncio.sleep(0)
        answer = await client.get("/books/1")
        assert (answer.status_code, answer.json()["code"]) == (503, "pool_exhausted")
        await blocker
    request = collected.named("GET /books/{book_id}")
    assert (request.is_error, request.trace_id) == (True, answer.json()["trace_id"])
    (unit,) = collected.children(request)
    assert (unit.is_error, unit.attributes["bookstore.outcome"]) == (True, "not begun")
    assert unit.attributes["bookstore.wait_ms"] >= 100


async def test_second_attempt(traced: Traced, collected: Collector, books_url: sa.URL) -> None:
    """A transaction that was retried is one unit of work with the number of its attempts and all statements."""
    name = f"again_{collected.endpoint[-5:]}"
    async with traced() as client:
        # A rollback does not reset a sequence, so the first attempt fails and the second does not.
        assert (await client.get("/sql", params={"statement": f"CREATE SEQUENCE {name}"})).status_code == 200
        fail_once = (
            f"DO $$ BEGIN IF nextval('{name}') = 1 THEN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF; END $$"
        )
        assert (await client.get("/sql", params={"statement": fail_once})).status_code == 200
    created, retried = (span for span in collected.spans if span.kind == INTERNAL)
    assert "bookstore.attempts" not in created.attributes
    assert (retried.attributes["bookstore.attempts"], retried.attributes["bookstore.outcome"]) == (2, "committed")
    assert [span.is_error for span in collected.children(retried)] == [True, False]


async def test_deadline(traced: Traced, collected: Collector) -> None:
    """A request that exceeds its deadline is an error, and the outcome of its transaction is unknown."""
    async with traced(pool_timeout=0.1, statement_timeout=2.0) as client:
        first, then = "SELECT pg_sleep(1.9)", "SELECT pg_sleep(1.8)"  # together longer than the deadline
        answer = await client.get("/sql", params={"statement": f"{first} ;; {then}"})
        assert (answer.status_code, answer.json()["code"]) == (503, "deadline")
    request = collected.named("GET /sql")
    assert (request.is_error, request.attributes["error.type"]) == (True, "503")
    (unit,) = collected.children(request)
    assert (unit.is_error, unit.attributes["bookstore.outcome"]) == (True, "unknown")
    assert collected.children(unit)
