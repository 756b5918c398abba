"""The spans of real requests on every driver, as a collector gets them."""

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
    """A request has a span named by its route, below it a unit of work, below that its statements."""
    async with traced() as client:
        assert (await client.get("/books/1?utm=no")).status_code == 400
        assert (await client.get("/books/1")).status_code == 200
    (refused, request) = (span for span in collected.spans if span.kind == SERVER)
    assert collected.below(refused) == []
    assert (request.name, request.parent_id, request.is_error) == ("GET /books/{book_id}", "", False)
    assert request.told == {
        "http.request.method": "GET",
        "http.route": "/books/{book_id}",
        "http.response.status_code": 200,
        "url.path": "/books/1",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "test",
    }
    (unit,) = collected.below(request)
    assert (unit.name, unit.kind, unit.is_error) == ("unit of work", INTERNAL, False)
    assert unit.told.pop("bookstore.wait_ms") >= 0
    assert unit.told == {"bookstore.driver": driver, "bookstore.loading": "json", "bookstore.outcome": "read"}
    statements = collected.below(unit)
    assert statements == collected.statements() != []
    for one in statements:
        assert one.name == f"SELECT {books_url.database}"
        assert one.told["db.system.name"] == "postgresql"
        assert one.told["db.operation.name"] == "SELECT"
        assert one.told["db.namespace"] == books_url.database
        assert one.told["server.address"] == (books_url.host or books_url.query["host"])
        assert one.told["server.port"] == int(str(books_url.port or books_url.query["port"]))
        assert one.told["db.response.returned_rows"] == 1
        assert "FROM book" in one.told["db.query.text"]
        assert ("$1" if driver == "asyncpg" else "%(") in one.told["db.query.text"]


async def test_the_resource_tells_who_it_is(
    traced: Traced, collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans bear the service, its version, process and profile; the environment has the last word on the name."""
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
async def test_n_plus_1_is_seen(traced: Traced, collected: Collector, loading: str, least: int, most: int) -> None:
    """Under lazy loading a list has two statements for each of its books, in one unit of work."""
    async with traced(loading=loading) as client:
        assert len((await client.get("/books", params={"limit": BOOKS})).json()["items"]) == BOOKS
    (unit,) = (span for span in collected.spans if span.kind == INTERNAL)
    assert least <= len(collected.below(unit)) <= most
    assert len(collected.below(unit)) == len(collected.statements())


async def test_a_write_tells_its_outcome(traced: Traced, collected: Collector) -> None:
    """What is stored is committed; what the database refuses is rolled back, and its statement names the SQLSTATE
    but no value. A refusal is the client's mistake, so its request is no error."""
    insert = "INSERT INTO genre (name, slug) VALUES (:secret, 'told')"
    async with traced() as client:
        for status in (200, 409):
            answer = await client.get("/sql", params={"statement": insert, "secret": CANARY})
            assert answer.status_code == status
        await client.get("/sql", params={"statement": "DELETE FROM genre WHERE name = :secret", "secret": CANARY})
    units = [span for span in collected.spans if span.kind == INTERNAL]
    assert [unit.told["bookstore.outcome"] for unit in units] == ["committed", "rolled back", "committed"]
    assert [one.told["db.operation.name"] for one in collected.statements()] == ["INSERT", "INSERT", "DELETE"]
    (failed,) = (one for one in collected.statements() if one.is_error)
    assert (failed.told["db.response.status_code"], failed.told["error.type"]) == ("23505", "23505")
    assert not any(span.is_error for span in collected.spans if span.kind == SERVER)
    assert not any(CANARY.encode() in body for body in collected.bodies)


async def test_a_bug_has_its_place_and_no_words(traced: Traced, collected: Collector, driver: Driver) -> None:
    """A 500 is an error with the frames that it came from; neither what was sent nor what the exception says is in
    any span."""
    async with traced() as client:
        answer = await client.get("/sql", params={"statement": "SELECT cast(:secret AS int)", "secret": CANARY})
        assert answer.status_code == 500
    request = collected.named("GET /sql")
    state = "22000" if driver == "asyncpg" else "22P02"  # asyncpg refuses it before it is sent
    assert (request.is_error, request.status_message, request.told["error.type"]) == (True, "", state)
    ((name, told),) = request.events
    assert name == "exception"
    assert "in run_sql" in told["exception.stacktrace"]
    assert "exception.message" not in told
    (unit,) = collected.below(request)
    assert (unit.is_error, unit.told["bookstore.outcome"]) == (True, "rolled back")
    (statement,) = collected.below(unit)
    assert (statement.is_error, statement.told["db.response.status_code"]) == (True, state)
    assert answer.json()["trace_id"] == request.trace_id
    assert not any(CANARY.encode() in body for body in collected.bodies)


async def test_no_secret_is_in_a_span(traced: Traced, collected: Collector, books_url: sa.URL) -> None:
    """Tokens, queries, bodies, headers, parameters of statements and the password of the database stay here."""
    told = {"Authorization": f"Bearer {CANARY}", "Cookie": CANARY, "User-Agent": CANARY, "X-Forwarded-For": CANARY}
    async with traced() as client:
        for query in (f"?q={CANARY}", f"?isbn={CANARY}", f"?cursor={CANARY}", f"?{CANARY}=1"):
            await client.get(f"/books{query}", headers=told)
        await client.post("/books", json={"title": CANARY}, headers=told)
        made = await client.post("/books", json={"title": CANARY}, headers={"Authorization": f"Bearer {TOKEN}"})
        assert made.status_code == 201
        await client.delete(
            made.headers["location"], headers={"Authorization": f"Bearer {TOKEN}", "If-Match": made.headers["etag"]}
        )
    assert len([span for span in collected.spans if span.kind == SERVER]) == 7
    assert len({span.told["http.response.status_code"] for span in collected.spans if span.kind == SERVER}) >= 4
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
async def test_a_caller_s_trace_goes_on(
    traced: Traced,
    collected: Collector,
    monkeypatch: pytest.MonkeyPatch,
    propagators: str | None,
    sent: str,
    is_continued: bool,
    is_sampled: bool,
) -> None:
    """A request continues the trace of its `traceparent`, and is sent if that one is, unless OTEL_PROPAGATORS
    forbids it."""
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
async def test_what_reaches_no_route_is_traced(traced: Traced, collected: Collector) -> None:
    """What the gate refuses and what has no route have a span without a route, and the trace in their problem."""
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
    assert brewed.told["http.request.method"] == "_OTHER"
    assert [answer.json()["trace_id"] for answer in answers[:3]] == [
        span.trace_id for span in collected.spans if span.kind == SERVER
    ][:3]


async def test_probes_are_not_traced(traced: Traced, collected: Collector) -> None:
    """Health checks make no spans, nor do their statements, nor the filling of the pool."""
    async with traced() as client:
        for path in ("/health/live", "/health/ready"):
            assert (await client.get(path)).status_code == 200
    assert collected.spans == []


async def test_waiting_for_a_connection_is_told(traced: Traced, collected: Collector) -> None:
    """Who finds the only connection in use waits for as long as the other one holds it, and the span says so."""
    async with traced(pool_size=1, max_overflow=0) as client:
        query = {"statement": "SELECT pg_sleep(0.3)"}
        answers = await asyncio.gather(client.get("/sql", params=query), client.get("/sql", params=query))
        assert [answer.status_code for answer in answers] == [200, 200]
    waits = [span.told["bookstore.wait_ms"] for span in collected.spans if span.kind == INTERNAL]
    assert max(waits) > 200


async def test_no_connection_is_told(traced: Traced, collected: Collector) -> None:
    """A unit of work without a connection has not begun; its request is an error with the kind of trouble."""
    async with traced(pool_size=1, max_overflow=0, pool_timeout=0.1) as client:
        taken = asyncio.create_task(client.get("/sql", params={"statement": "SELECT pg_sleep(1)"}))
        await asyncio.sleep(0)
        answer = await client.get("/books/1")
        assert (answer.status_code, answer.json()["code"]) == (503, "pool_exhausted")
        await taken
    request = collected.named("GET /books/{book_id}")
    assert (request.is_error, request.trace_id) == (True, answer.json()["trace_id"])
    (unit,) = collected.below(request)
    assert (unit.is_error, unit.told["bookstore.outcome"]) == (True, "not begun")
    assert unit.told["bookstore.wait_ms"] >= 100


async def test_a_second_try_is_told(traced: Traced, collected: Collector, books_url: sa.URL) -> None:
    """A transaction that began anew is one unit of work with the number of its attempts, and all statements."""
    name = f"again_{collected.endpoint[-5:]}"
    async with traced() as client:
        # A sequence goes on although its transaction is rolled back: the first attempt fails, the second does not.
        assert (await client.get("/sql", params={"statement": f"CREATE SEQUENCE {name}"})).status_code == 200
        begin_anew = (
            f"DO $$ BEGIN IF nextval('{name}') = 1 THEN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF; END $$"
        )
        assert (await client.get("/sql", params={"statement": begin_anew})).status_code == 200
    made, tried = (span for span in collected.spans if span.kind == INTERNAL)
    assert "bookstore.attempts" not in made.told
    assert (tried.told["bookstore.attempts"], tried.told["bookstore.outcome"]) == (2, "committed")
    assert [one.is_error for one in collected.below(tried)] == [True, False]


async def test_what_is_given_up_is_told(traced: Traced, collected: Collector) -> None:
    """A request that met its deadline is an error, and what became of its transaction is unknown."""
    async with traced(pool_timeout=0.1, statement_timeout=2.0) as client:
        first, then = "SELECT pg_sleep(1.9)", "SELECT pg_sleep(1.8)"  # together longer than the request may take
        answer = await client.get("/sql", params={"statement": f"{first} ;; {then}"})
        assert (answer.status_code, answer.json()["code"]) == (503, "deadline")
    request = collected.named("GET /sql")
    assert (request.is_error, request.told["error.type"]) == (True, "503")
    (unit,) = collected.below(request)
    assert (unit.is_error, unit.told["bookstore.outcome"]) == (True, "unknown")
    assert collected.below(unit)
