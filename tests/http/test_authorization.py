"""Access control: the guard on a small app, and on each route of the service."""

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
from bookstore.auth.tokens import Token, create
from bookstore.database.unit_of_work import make_database
from bookstore.database.url import parse
from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http import authorization, problem_details
from bookstore.profile.engine_profile import EngineProfile

pytestmark = pytest.mark.anyio

DAY = date(2026, 1, 31)
WRITER, TOKEN_WRITER = create("writer", ["catalog:write"], DAY)
ADMIN, TOKEN_ADMIN = create("root", ["admin"], DAY)
KNOWN = Keyring((TOKEN_WRITER, TOKEN_ADMIN))
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

# All public routes. A test fails unless every other route requires a token.
OPEN = {
    ("GET", "/"),
    ("GET", "/authors"),
    ("GET", "/authors/{author_id:int}"),
    ("GET", "/authors/{author_id:int}/books"),
    ("GET", "/books"),
    ("GET", "/books/isbn/{number:str}"),
    ("GET", "/books/{book_id:int}"),
    ("GET", "/genres"),
    ("GET", "/genres/{genre_id:str}"),
    ("GET", "/genres/{genre_id:str}/books"),
    ("GET", "/changes"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/problems"),
    ("GET", "/schema"),
    ("GET", "/schema/openapi.json"),
    ("GET", "/schema/start.js"),
    ("GET", "/schema/swagger-ui-bundle.js"),
    ("GET", "/schema/swagger-ui.css"),
}


def owner(request: Request[Any, Token | None, Any]) -> str:
    return request.auth.name if request.auth else "nobody"


@get("/open", opt=authorization.PUBLIC)
async def read(request: Request[Any, Any, Any]) -> str:
    return owner(request)


@post("/write", opt=authorization.WRITE)
async def write(request: Request[Any, Any, Any], data: JSONBody[dict[str, int]]) -> str:
    return owner(request) + str(data)


@put("/admin", opt=authorization.ADMIN)
async def administer(request: Request[Any, Any, Any]) -> str:
    return owner(request)


@get("/undeclared")
async def undeclared(request: Request[Any, Any, Any]) -> str:
    return owner(request)


@get("/misspelt", opt={"access": "pubilc"})
async def misspelt(request: Request[Any, Any, Any]) -> str:
    return owner(request)


class Mixed(Controller):
    """Public except for one handler."""

    path = "/mixed"
    opt = authorization.PUBLIC

    @get()
    async def read(self, request: Request[Any, Any, Any]) -> str:
        return owner(request)

    @delete(status_code=200, opt=authorization.WRITE)
    async def remove(self, request: Request[Any, Any, Any]) -> str:
        return owner(request)


HANDLERS: list[ControllerRouterHandler] = [read, write, administer, undeclared, misspelt, Mixed]
# Values of Authorization headers; none contains a single valid token.
INVALID_TOKENS = [
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
    """Return a small service behind `guard`."""
    problems: dict[int | type[Exception], Any] = {Exception: problem_details.exception_response}
    return Litestar(handlers, guards=[guard], exception_handlers=problems, openapi_config=None, logging_config=None)


def client_of(service: Litestar) -> Client:
    transport = httpx.ASGITransport(service, client=("192.0.2.7", 1))  # type: ignore[arg-type] # Litestar is stricter
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    guard = authorization.guard(KNOWN, [ip_network("192.0.2.0/24")])
    async with client_of(guarded(guard, *HANDLERS)) as client:
        yield client


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log of the service, without that of the client."""
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
    """A route accepts tokens with its scope; without one, or with an unknown one, only admins."""
    body = {"json": {"n": 1}} if method == "POST" else {}
    answers = [
        (await client.request(method, path, headers=headers, **body)).status_code  # type: ignore[arg-type] # json
        for headers in ({}, bearer(WRITER), bearer(ADMIN))
    ]
    assert answers == [nobody, writer, admin]


async def test_request_auth(client: Client) -> None:
    """A handler receives the token of the request; a public handler needs none, but a wrong one is 401."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = await client.put("/admin", headers={"Authorization": f"{scheme} {ADMIN}"})
        assert (answer.status_code, answer.text) == (200, "root")
    assert (await client.request("DELETE", "/mixed", headers=bearer(WRITER))).text == "writer"
    assert (await client.get("/open")).text == "nobody"
    assert (await client.get("/open", headers=bearer(ADMIN))).text == "root"
    for wrong in ("Bearer wrong", "Bearer", "", f"Basic {ADMIN}"):
        answer = await client.get("/open", headers={"Authorization": wrong})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_invalid_tokens(client: Client, log: pytest.LogCaptureFixture) -> None:
    """Any invalid token gives the same 401 with a challenge; the log has one line and no token."""
    bodies = set()
    for sent in INVALID_TOKENS:
        log.clear()
        headers = [(b"authorization", value.encode("latin-1")) for value in sent]
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
    """Without a token the challenge has only the scheme; with a wrong token it has `invalid_token` (RFC 6750, 3.1)."""
    answer = await client.put("/admin")
    assert answer.headers["www-authenticate"] == 'Bearer realm="bookstore"'
    answer = await client.put("/admin", headers=bearer("x"))
    assert answer.headers["www-authenticate"] == 'Bearer realm="bookstore", error="invalid_token"'


async def test_missing_scope(client: Client, log: pytest.LogCaptureFixture) -> None:
    """A valid token without the scope is 403 and names the scope; the log has the name of the token."""
    answer = await client.put("/admin", headers=bearer(WRITER))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert answer.json()["detail"] == "The token has the scope catalog:write; this request requires admin."
    challenge = 'Bearer realm="bookstore", error="insufficient_scope", scope="admin"'
    assert answer.headers["www-authenticate"] == challenge
    assert log.messages == ["refused, token writer without admin: PUT /admin from 192.0.2.7"]


async def test_log_is_one_line(log: pytest.LogCaptureFixture) -> None:
    """A path with line ends is logged in one line and a long path is cut; the client is the one behind the proxy."""

    @get("/x/{path:path}")
    async def any_path(path: FromPath[str]) -> str:
        return path

    guard = authorization.guard(KNOWN, [ip_network("192.0.2.0/24")])
    async with client_of(guarded(guard, any_path)) as client:
        answer = await client.get("/x/a%0d%0aFAKE%1b[2J", headers={"X-Forwarded-For": "10.9.9.9, 203.0.113.9"})
        assert answer.status_code == 401
        await client.get("/x/" + "a" * 5000)
    first, second = log.messages
    assert first == r"refused, no token: GET /x/a\r\nFAKE\x1b[2J from 203.0.113.9"
    assert len(second) < 300


async def test_authorization_precedes_body(client: Client) -> None:
    """A request without permission is rejected before its body is parsed."""
    assert (await client.post("/write", content=b"not json")).status_code == 401
    assert (await client.post("/write", content=b"not json", headers=bearer(WRITER))).status_code == 400


async def test_without_tokens() -> None:
    """If no tokens are configured, reading works and every write is 401, even with an empty token."""
    guard = authorization.guard(Keyring())
    async with client_of(guarded(guard, *HANDLERS)) as client:
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
        """A route that a read-only service lacks."""


def service(**options: Any) -> Litestar:
    """Return the real app; its database is never used."""
    nowhere = parse("postgresql://nobody@127.0.0.1:1/none")
    return app.make_app(make_database(EngineProfile(name="test", gc="default"), nowhere), **options)


def routes(service: Litestar) -> Iterator[HTTPRoute]:
    for route in service.routes:
        assert isinstance(route, HTTPRoute), route
        yield route


def address(route: HTTPRoute) -> str:
    """Return the path of `route` with values for its parameters."""
    values = {"int": "1", "str": "x", "uuid": "00000000-0000-7000-8000-000000000000", "path": "x"}
    parts = [part if isinstance(part, str) else values[part.type.__name__.lower()] for part in route.path_components]
    return "/" + "/".join(parts)


async def test_default_deny() -> None:
    """Without a token, each method of each route is 401 unless it is in OPEN; an unsupported method is 405, and OPTIONS
    reveals only the methods."""
    deployed = service()
    present = set()
    async with client_of(deployed) as client:
        for route in routes(deployed):
            for method in METHODS:
                is_open = ("GET" if method == "HEAD" else method, route.path) in OPEN
                handled = "GET" if method == "HEAD" else method
                if handled not in route.route_handler_map:
                    answer = await client.request(method, address(route))
                    assert answer.status_code == 405, (method, route.path)
                elif method == "OPTIONS":
                    answer = await client.request(method, address(route))
                    assert (answer.status_code, answer.content) == (204, b""), route.path
                    head = {"HEAD"} if "GET" in route.route_handler_map else set()
                    assert set(answer.headers["allow"].split(", ")) == set(route.route_handler_map) | head
                elif is_open:
                    present.add((handled, route.path))
                else:
                    for headers in ({}, bearer(WRITER)):
                        answer = await client.request(method, address(route), headers=headers)
                        assert answer.status_code == 401, (method, route.path)
                        assert answer.headers["www-authenticate"]
    assert present == OPEN, "OPEN lists a route that does not exist"


async def test_public_routes() -> None:
    """Exactly the routes in OPEN are declared public."""
    declared = {
        (method, route.path)
        for route in routes(service())
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS" and handler.opt.get("access") == authorization.PUBLIC["access"]
    }
    assert declared == OPEN


async def test_default_deny_for_new_routes() -> None:
    """A route that is added without a declared scope is 401."""
    deployed = service()
    deployed.register(Router("/new", route_handlers=[undeclared]))
    async with client_of(deployed) as client:
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
    """A path that resembles or traverses a public path grants no access."""
    deployed = service()
    deployed.register(later)
    async with client_of(deployed) as client:
        for method in ("GET", "POST"):
            request = client.build_request(method, "/")
            request.url = httpx.URL("http://localhost").copy_with(raw_path=path.encode())
            answer = await client.send(request)
            assert answer.status_code in {401, 404, 405}, (method, path)
            assert "alive" not in answer.text


async def test_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only service has no writing route, whatever the token."""
    monkeypatch.setattr(app, "READ_WRITE_HANDLERS", (Later,))
    for read_only, status in ((False, 201), (True, 404)):
        async with client_of(service(known=KNOWN, read_only=read_only)) as client:
            assert (await client.post("/later", headers=bearer(ADMIN))).status_code == status
    for route in routes(service(read_only=True)):
        assert set(route.route_handler_map) <= {"GET", "OPTIONS"}
