"""Who may do what: the guard on an app of its own, and on the service route by route."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from datetime import date
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from litestar import Controller, Litestar, Request, Router, delete, get, post, put
from litestar.params import FromPath, JSONBody
from litestar.routes import HTTPRoute
from litestar.types import ControllerRouterHandler, Guard

from bookstore import app
from bookstore.auth.keyring import Keyring
from bookstore.auth.tokens import Token, make
from bookstore.database.unit_of_work import make_database
from bookstore.database.url import parse
from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http import authorization, problem_details
from bookstore.profile.engine_profile import EngineProfile

pytestmark = pytest.mark.anyio

DAY = date(2026, 1, 31)
WRITER, TOKEN_WRITER = make("writer", ["catalog:write"], DAY)
ADMIN, TOKEN_ADMIN = make("root", ["admin"], DAY)
KNOWN = Keyring((TOKEN_WRITER, TOKEN_ADMIN))
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

# Everything that is open to everybody. A route that is not here needs a token, or this test fails.
OPEN = {
    ("GET", "/authors"),
    ("GET", "/authors/{author_id:int}"),
    ("GET", "/authors/{author_id:int}/books"),
    ("GET", "/books"),
    ("GET", "/books/isbn/{number:str}"),
    ("GET", "/books/{book_id:int}"),
    ("GET", "/genres"),
    ("GET", "/genres/{genre_id:int}"),
    ("GET", "/genres/{genre_id:int}/books"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/problems"),
    ("GET", "/schema"),
    ("GET", "/schema/openapi.json"),
    ("GET", "/schema/start.js"),
    ("GET", "/schema/swagger-ui-bundle.js"),
    ("GET", "/schema/swagger-ui.css"),
}


def whose(request: Request[Any, Token | None, Any]) -> str:
    return request.auth.name if request.auth else "nobody"


@get("/open", opt=authorization.PUBLIC)
async def read(request: Request[Any, Any, Any]) -> str:
    return whose(request)


@post("/write", opt=authorization.WRITE)
async def write(request: Request[Any, Any, Any], data: JSONBody[dict[str, int]]) -> str:
    return whose(request) + str(data)


@put("/admin", opt=authorization.ADMIN)
async def administer(request: Request[Any, Any, Any]) -> str:
    return whose(request)


@get("/undeclared")
async def undeclared(request: Request[Any, Any, Any]) -> str:
    return whose(request)


@get("/misspelt", opt={"access": "pubilc"})
async def misspelt(request: Request[Any, Any, Any]) -> str:
    return whose(request)


class Mixed(Controller):
    """Open but for one handler."""

    path = "/mixed"
    opt = authorization.PUBLIC

    @get()
    async def read(self, request: Request[Any, Any, Any]) -> str:
        return whose(request)

    @delete(status_code=200, opt=authorization.WRITE)
    async def remove(self, request: Request[Any, Any, Any]) -> str:
        return whose(request)


HANDLERS: list[ControllerRouterHandler] = [read, write, administer, undeclared, misspelt, Mixed]
# A decoded header of several tokens, schemes and kinds of nonsense; none is a valid token.
NO_TOKENS = [
    [], [""], [" "], ["Bearer"], ["Bearer "], ["Bearer  "], ["bearer x"], ["Basic dXNlcjpwYXNz"], [f"Basic {WRITER}"],
    [WRITER], [f"Token {WRITER}"], [f"Bearer{WRITER}"], [f"Bearer,{WRITER}"], [f"Bearer {WRITER},"],
    [f"Bearer {WRITER} {WRITER}"], [f'Bearer "{WRITER}"'], [f"Bearer Bearer {WRITER}"], [f"Bearer {WRITER[:-1]}"],
    [f"Bearer {WRITER}x"], [f"Bearer {WRITER.upper()}"], [f"Bearer {TOKEN_WRITER.digest}"], ["Bearer " + "a" * 10_240],
    [f"Bearer {WRITER}", f"Bearer {WRITER}"], [f"Bearer {WRITER}", "Bearer x"], ["Basic eDp5", f"Bearer {WRITER}"],
    ["Bearer \xff\xfe"], ["Bearer \u00e4\u00f6"], ["Bearer null"], ["Bearer undefined"], ["Bearer %00"], ["Bearer *"],
    ["Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."], ["Bearer ' OR 1=1 --"], ["\xa0Bearer x"],
]  # fmt: skip

Client = httpx.AsyncClient


def guarded(guard: Guard, *handlers: ControllerRouterHandler) -> Litestar:
    """A small service behind `guard`."""
    problems: dict[int | type[Exception], Any] = {Exception: problem_details.answer}
    return Litestar(handlers, guards=[guard], exception_handlers=problems, openapi_config=None, logging_config=None)


def asking(service: Litestar) -> Client:
    transport = httpx.ASGITransport(service, client=("192.0.2.7", 1))  # type: ignore[arg-type] # Litestar is stricter
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    guard = authorization.guard(KNOWN, [ip_network("192.0.2.0/24")])
    async with asking(guarded(guard, *HANDLERS)) as opened:
        yield opened


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the service logs, not what its client does."""
    caplog.handler.addFilter(logging.Filter("bookstore"))
    return caplog


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("method", "path", "nobody", "writer", "admin"),
    [
        ("GET", "/open", 200, 200, 200),
        ("GET", "/mixed", 200, 200, 200),
        ("POST", "/write", 401, 201, 201),
        ("DELETE", "/mixed", 401, 200, 200),
        ("PUT", "/admin", 401, 403, 200),
        ("GET", "/undeclared", 401, 403, 200),
        ("GET", "/misspelt", 401, 403, 200),
    ],
)
async def test_scopes(client: Client, method: str, path: str, nobody: int, writer: int, admin: int) -> None:
    """A route takes who has its scope; one that declares nothing, or something unknown, takes admins alone."""
    body = {"json": {"n": 1}} if method == "POST" else {}
    answers = [
        (await client.request(method, path, headers=headers, **body)).status_code  # type: ignore[arg-type] # json
        for headers in ({}, bearer(WRITER), bearer(ADMIN))
    ]
    assert answers == [nobody, writer, admin]


async def test_who_it_is(client: Client) -> None:
    """The handler gets the token of the request; a public one gets nobody, whatever was sent."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = await client.put("/admin", headers={"Authorization": f"{scheme} {ADMIN}"})
        assert (answer.status_code, answer.text) == (200, "root")
    assert (await client.request("DELETE", "/mixed", headers=bearer(WRITER))).text == "writer"
    for headers in ({}, bearer(ADMIN), bearer("wrong")):
        assert (await client.get("/open", headers=headers)).text == "nobody"


async def test_no_token(client: Client, log: pytest.LogCaptureFixture) -> None:
    """Whatever is no valid token is the same 401, with a challenge; the log has one line and no token."""
    bodies = set()
    for sent in NO_TOKENS:
        log.clear()
        headers = [(b"authorization", one.encode("latin-1")) for one in sent]
        answer = await client.post("/write", headers=headers, content=b"{")
        assert answer.status_code == 401, sent
        assert answer.headers["www-authenticate"].startswith('Bearer realm="bookstore"'), sent
        bodies.add(answer.content)
        (record,) = log.records
        assert record.getMessage() in {
            "refused, no token: POST /write from 192.0.2.7",
            "refused, unknown token: POST /write from 192.0.2.7",
        }
    (body,) = bodies
    assert b'"code":"unauthenticated"' in body
    assert PROBLEM_TYPES["unauthenticated"].title.encode() in body


async def test_challenges(client: Client) -> None:
    """Who sent nothing is told the scheme only, who sent a wrong token that it is invalid (RFC 6750, 3.1)."""
    asked = await client.put("/admin")
    assert asked.headers["www-authenticate"] == 'Bearer realm="bookstore"'
    asked = await client.put("/admin", headers=bearer("x"))
    assert asked.headers["www-authenticate"] == 'Bearer realm="bookstore", error="invalid_token"'


async def test_scope_is_missing(client: Client, log: pytest.LogCaptureFixture) -> None:
    """A valid token without the scope is 403, which names the scope; the log names the token's name."""
    answer = await client.put("/admin", headers=bearer(WRITER))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert answer.json()["detail"] == "The token has the scope catalog:write; this needs admin."
    challenge = 'Bearer realm="bookstore", error="insufficient_scope", scope="admin"'
    assert answer.headers["www-authenticate"] == challenge
    assert log.messages == ["refused, token writer without admin: PUT /admin from 192.0.2.7"]


async def test_log_is_one_line(log: pytest.LogCaptureFixture) -> None:
    """A path with line ends is one line in the log, a long one is cut; the client is the one before the proxy."""

    @get("/x/{path:path}")
    async def any_path(path: FromPath[str]) -> str:
        return path

    guard = authorization.guard(KNOWN, [ip_network("192.0.2.0/24")])
    async with asking(guarded(guard, any_path)) as client:
        answer = await client.get("/x/a%0d%0aFAKE%1b[2J", headers={"X-Forwarded-For": "10.9.9.9, 203.0.113.9"})
        assert answer.status_code == 401
        await client.get("/x/" + "a" * 5000)
    first, second = log.messages
    assert first == r"refused, no token: GET /x/a\r\nFAKE\x1b[2J from 203.0.113.9"
    assert len(second) < 300


async def test_body_is_not_read_first(client: Client) -> None:
    """Who may not write is told so before the body is looked at."""
    assert (await client.post("/write", content=b"not json")).status_code == 401
    assert (await client.post("/write", content=b"not json", headers=bearer(WRITER))).status_code == 400


async def test_no_token_is_configured() -> None:
    """Without any token reading works and every write is 401, also with the digest of nothing."""
    guard = authorization.guard(Keyring())
    async with asking(guarded(guard, *HANDLERS)) as client:
        assert (await client.get("/open")).status_code == 200
        for headers in ({}, bearer(""), bearer(WRITER)):
            assert (await client.post("/write", headers=headers)).status_code == 401


@post("/later", opt=authorization.WRITE)
async def later() -> None:
    """A route that writes."""


class Later(Controller):
    path = "/later"

    @post(opt=authorization.WRITE)
    async def write(self) -> None:
        """What a read-only service has not."""


def service(**options: Any) -> Litestar:
    """The real app; its database is never asked."""
    nowhere = parse("postgresql://nobody@127.0.0.1:1/none")
    return app.make_app(make_database(EngineProfile(name="test", gc="default"), nowhere), **options)


def routes(of: Litestar) -> Iterator[HTTPRoute]:
    for route in of.routes:
        assert isinstance(route, HTTPRoute), route
        yield route


def address(route: HTTPRoute) -> str:
    """The route's path with something in the place of its parameters."""
    values = {"int": "1", "str": "x", "uuid": "00000000-0000-7000-8000-000000000000", "path": "x"}
    parts = [part if isinstance(part, str) else values[part.type.__name__.lower()] for part in route.path_components]
    return "/" + "/".join(parts)


async def test_default_deny() -> None:
    """Each method of each route answers 401 without a token, unless it stands in OPEN; what a route does not
    have is 405, and OPTIONS tells nothing but the methods."""
    deployed = service()
    there = set()
    async with asking(deployed) as client:
        for route in routes(deployed):
            for method in METHODS:
                is_open = ("GET" if method == "HEAD" else method, route.path) in OPEN
                has = "GET" if method == "HEAD" else method
                if has not in route.route_handler_map:
                    answer = await client.request(method, address(route))
                    assert answer.status_code == 405, (method, route.path)
                elif method == "OPTIONS":
                    answer = await client.request(method, address(route))
                    assert (answer.status_code, answer.content) == (204, b""), route.path
                    head = {"HEAD"} if "GET" in route.route_handler_map else set()
                    assert set(answer.headers["allow"].split(", ")) == set(route.route_handler_map) | head
                elif is_open:
                    there.add((has, route.path))
                else:
                    for headers in ({}, bearer(WRITER)):
                        answer = await client.request(method, address(route), headers=headers)
                        assert answer.status_code == 401, (method, route.path)
                        assert answer.headers["www-authenticate"]
    assert there == OPEN, "OPEN lists what is not there"


async def test_open_is_open() -> None:
    """What OPEN lists is declared open, and nothing else is."""
    declared = {
        (method, route.path)
        for route in routes(service())
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS" and handler.opt.get("access") == authorization.PUBLIC["access"]
    }
    assert declared == OPEN


async def test_default_deny_sees_new_routes() -> None:
    """A route that is added without a word about access answers 401."""
    deployed = service()
    deployed.register(Router("/new", route_handlers=[undeclared]))
    async with asking(deployed) as client:
        assert (await client.get("/new/undeclared")).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/health", "/health/livez", "/health/live/x", "/x/health/live", "/books/schema", "/books/health/live",
        "/health/live/..;/books", "/schemas", "/HEALTH/LIVE", "/health%252flive", "/books/1/schema", "/problems/x",
        "/books/x/../../later", "/later;/schema", "/later/", "//later", "/schema/../later", "/later%00",
        "/later?/schema", "/%6cater", "/later%2f",
    ],
)  # fmt: skip
async def test_lookalikes(path: str) -> None:
    """A path that looks like an open one, or leads from one to another, opens nothing."""
    deployed = service()
    deployed.register(later)
    async with asking(deployed) as client:
        for method in ("GET", "POST"):
            request = client.build_request(method, "/")
            request.url = httpx.URL("http://localhost").copy_with(raw_path=path.encode())
            answer = await client.send(request)
            assert answer.status_code in {401, 404, 405}, (method, path)
            assert "alive" not in answer.text


async def test_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only service has no route that writes, for nobody."""
    monkeypatch.setattr(app, "WRITING", (Later,))
    for read_only, status in ((False, 201), (True, 404)):
        async with asking(service(known=KNOWN, read_only=read_only)) as client:
            assert (await client.post("/later", headers=bearer(ADMIN))).status_code == status
    for route in routes(service(read_only=True)):
        assert set(route.route_handler_map) <= {"GET", "OPTIONS"}
