from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any, NamedTuple

import msgspec
import pytest

from bookstore.config.request_policy import RequestPolicy
from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http import gate
from bookstore.http.compression import CODINGS, decode
from bookstore.http.gate import Gate
from bookstore.profile.engine_profile import EngineProfile

pytestmark = pytest.mark.anyio

JSON = (b"content-type", b"application/json")
OPEN = RequestPolicy()
LONG = b'"' + b"books " * 500 + b'"'

App = Callable[[Any, Any, Any], Awaitable[None]]


@pytest.fixture(autouse=True)
def _short_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks deadlines often, for tests with short ones."""
    monkeypatch.setattr("bookstore.http.deadlines.TICK_S", 0.002)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def answering(body: bytes = b"{}", *headers: tuple[bytes, bytes], status: int = 200) -> App:
    """Return an app that sends this response to every request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": status, "headers": [JSON, length, *headers]})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return app


async def ask(
    app: App,
    path: str = "/books",
    query: str = "",
    *headers: tuple[str, str],
    method: str = "GET",
    peer: str = "192.0.2.1",
    host: str | None = "example.com",
    body: list[Any] | None = None,
) -> Answer:
    """Return the response of an ASGI app. `body` has the messages to receive; after them, receiving blocks."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    if host is not None:
        raw.insert(0, (b"host", host.encode("latin-1")))
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": raw, "client": (peer, 1),
    }  # fmt: skip
    sent: list[Any] = []
    messages = iter(body or [])

    async def receive() -> Any:
        message = next(messages, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *parts = sent
    names = [name for name, _ in start["headers"]]
    assert len(names) == len(set(names)), names
    fields = {name.decode(): value.decode() for name, value in start["headers"]}
    answer = Answer(start["status"], fields, b"".join(part["body"] for part in parts))
    if method != "HEAD" and "content-length" in fields:
        assert int(fields["content-length"]) == len(answer.body)
    return answer


def guarded(app: App | None = None, policy: RequestPolicy = OPEN, **keys: Any) -> App:
    return Gate(app or answering(), EngineProfile(name="test", **keys), policy)


def is_problem(answer: Answer, code: str) -> Any:
    assert answer.headers["content-type"] == "application/problem+json"
    body = msgspec.json.decode(answer.body)
    assert (body["code"], body["status"], answer.status) == (
        code,
        PROBLEM_TYPES[code].status,
        PROBLEM_TYPES[code].status,
    )
    return body


# Limits


async def test_long_url() -> None:
    """Path and query may have 8 kB together; one byte more is 414."""
    app = guarded()
    assert (await ask(app, "/books", "a" * (gate.LONGEST_URL - 6))).status == 200
    is_problem(await ask(app, "/books", "a" * (gate.LONGEST_URL - 5)), "uri_too_long")
    is_problem(await ask(app, "/" * 9000), "uri_too_long")


async def test_many_parameters() -> None:
    """100 parameters are accepted, 101 are rejected."""
    app = guarded()
    assert (await ask(app, "/books", "&".join(["a=1"] * 100))).status == 200
    is_problem(await ask(app, "/books", "&".join(["a=1"] * 101)), "invalid_parameter")


async def test_request_id() -> None:
    """The response has the client's id or else a generated one, even if the gate rejects the request."""
    for app in (guarded(), guarded(policy=RequestPolicy(hosts=("elsewhere",)))):
        assert (await ask(app, "/books", "", ("X-Request-ID", "mine-1"))).headers["x-request-id"] == "mine-1"
        generated = [
            (await ask(app, "/books", "", *sent)).headers["x-request-id"] for sent in ([], [("X-Request-ID", "a b")])
        ]
        assert list(map(len, generated)) == [32, 32]
        assert generated[0] != generated[1]
    problem = is_problem(await ask(app, "/books", "", ("X-Request-ID", "mine-1")), "unknown_host")
    assert problem["request_id"] == "mine-1"


async def test_bug(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception is a 500 without its text, and is logged once with its traceback."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("c4n@ry")

    answer = await ask(guarded(broken))
    is_problem(answer, "internal")
    assert b"c4n@ry" not in answer.body
    (record,) = caplog.records
    assert record.exc_info
    assert record.message == "GET /books"


async def test_deadline(caplog: pytest.LogCaptureFixture) -> None:
    """An app that exceeds the deadline is cancelled; the 503 has Retry-After and is logged."""
    cancelled = asyncio.Event()

    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    answer = await ask(soon(guarded(stuck)))
    is_problem(answer, "deadline")
    assert int(answer.headers["retry-after"]) >= 1
    assert cancelled.is_set()
    assert caplog.messages == ["/books: deadline"]


async def test_deadline_after_the_start() -> None:
    """A response that has started cannot be replaced, so it is aborted."""

    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await ask(soon(guarded(stuck)))


async def test_other_timeout() -> None:
    """A TimeoutError that the deadline did not cause is a bug like any other."""

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError("mine")

    is_problem(await ask(guarded(failing)), "internal")


def soon(app: App) -> App:
    """Give the gate a deadline that is short enough for a test."""
    assert isinstance(app, Gate)
    app.deadline_s = 0.02
    return app


async def reading(scope: Any, receive: Any, send: Any) -> None:
    """An app that returns the request body."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message.get("more_body", False)
    await answering(body)(scope, receive, send)


PART = {"type": "http.request", "body": b"1", "more_body": True}
END = {"type": "http.request", "body": b"2", "more_body": False}
CHUNKED = ("Transfer-Encoding", "chunked")


async def test_slow_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not arrive in time is 408, and the connection is closed, because the rest of the body would be
    read as the next request."""
    monkeypatch.setattr(gate, "BODY_WITHIN_S", 0.02)
    answer = await ask(guarded(reading), "/books", "", CHUNKED, method="POST", body=[PART])
    is_problem(answer, "request_timeout")
    assert answer.headers["connection"] == "close"


async def test_body_in_time() -> None:
    """A body has its own, longer time limit; the deadline starts once the body has arrived."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            await asyncio.sleep(0.05)
            return await receive()

        await gated(scope, received, send)

    gated = soon(guarded(reading))
    answer = await ask(slow, "/books", "", CHUNKED, method="POST", body=[PART, END])
    assert (answer.status, answer.body) == (200, b"12")

    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        await reading(scope, receive, lambda _: asyncio.Event().wait())

    answer = await ask(soon(guarded(stuck)), "/books", "", ("Content-Length", "1"), method="POST", body=[END])
    is_problem(answer, "deadline")


# Rate


async def test_rate() -> None:
    """A client over the limit gets 429 with Retry-After in seconds; other clients and the probes are not affected."""
    app = guarded(policy=RequestPolicy(rate_limit=5))
    answers = [await ask(app) for _ in range(30)]
    assert sum(answer.status == 200 for answer in answers) in range(10, 13)
    is_problem(answers[-1], "too_many_requests")
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"client";q=10;w=2'}
    assert answers[0].headers["ratelimit"] == '"client";r=9;t=1'
    assert answers[-1].headers["ratelimit"] == f'"client";r=0;t={answers[-1].headers["retry-after"]}'
    assert (await ask(app, peer="192.0.2.2")).status == 200
    for path in ("/health/live", "/health/ready"):
        probe = await ask(app, path)
        assert (probe.status, "ratelimit" in probe.headers) == (200, False)
    assert "ratelimit" not in (await ask(guarded())).headers
    is_problem(await ask(app, "/health/live/../../books"), "too_many_requests")


async def test_forged_addresses() -> None:
    """X-Forwarded-For distinguishes clients only if a trusted proxy sends it."""
    for peer, limited in (("192.0.2.1", True), ("10.0.0.1", False)):
        app = guarded(policy=RequestPolicy(rate_limit=1, proxies=(ip_network("10.0.0.0/8"),)))
        forged = [("X-Forwarded-For", f"203.0.113.{number}") for number in range(200)]
        statuses = [(await ask(app, "/books", "", header, peer=peer)).status for header in forged]
        assert (429 in statuses) is limited
    header = ("X-Forwarded-For", "8.8.8.8, 203.0.113.1")  # the left part is forged
    statuses = [(await ask(app, "/books", "", header, peer="10.0.0.1")).status for _ in range(5)]
    assert 429 in statuses


# Hosts


@pytest.mark.parametrize("host", ["example.com", "EXAMPLE.com:8000", "[::1]", "[::1]:80"])
async def test_known_hosts(host: str) -> None:
    """An allowed name is accepted in upper or lower case and with any port."""
    assert (await ask(guarded(policy=RequestPolicy(hosts=("example.com", "[::1]"))), host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    ["exampleXcom", "example.com.evil.org", "evil.example.com", "evil.org", "127.0.0.1", "[::2]"],
)
async def test_unknown_hosts(host: str) -> None:
    """Any other name is 400, except for probes, because an orchestrator knows only addresses."""
    app = guarded(policy=RequestPolicy(hosts=("example.com", "[::1]")))
    is_problem(await ask(app, host=host), "unknown_host")
    assert (await ask(app, "/health/live", host=host)).status == 200
    assert (await ask(guarded(), host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [None, "", ":80", "a b", "a/b", "a@b", "\xff", "example.com:port", "example.com:", "[::1", "x" * 9000],
)
async def test_invalid_hosts(host: str | None) -> None:
    """A missing or invalid Host header is 400, whatever names are allowed."""
    for policy in (OPEN, RequestPolicy(hosts=("example.com",))):
        is_problem(await ask(guarded(policy=policy), host=host), "unknown_host")
        is_problem(await ask(guarded(policy=policy), "/health/live", host=host), "unknown_host")


async def test_two_hosts() -> None:
    """Two Host headers are 400; other headers may be repeated."""
    is_problem(await ask(guarded(), "/books", "", ("Host", "example.com")), "unknown_host")
    assert (await ask(guarded(), "/books", "", ("Cookie", "a"), ("Cookie", "b"))).status == 200


async def test_repeated_headers() -> None:
    """The lines of a repeated header reach the app as one list in their order, and content codings are combined."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = repr([header for header in scope["headers"] if header[0] == b"if-none-match"]).encode()
        await answering(body)(scope, receive, send)

    etags = ("If-None-Match", '"1"'), ("Accept-Encoding", "br"), ("If-None-Match", ""), ("If-None-Match", 'W/"2"')
    answer = await ask(guarded(app), "/books", "", *etags)
    assert answer.body == b"""[(b'if-none-match', b'"1", , W/"2"')]"""
    codings = ("Accept-Encoding", "gzip;q=0.1"), ("Accept-Encoding", "identity;q=0.5"), ("Accept-Encoding", "br")
    coded = await ask(guarded(answering(LONG)), "/books", "", *codings)
    assert coded.headers["content-encoding"] == "br"


# CORS

PAGES = RequestPolicy(origins=("https://example.com",), rate_limit=1)
ORIGIN = ("Origin", "https://example.com")


async def test_cors() -> None:
    """The gate answers preflights from an allowed origin; all responses to that origin name it, even rejections."""
    app = guarded(policy=PAGES)
    preflight = await ask(app, "/any", "", ORIGIN, ("Access-Control-Request-Method", "PUT"), method="OPTIONS")
    assert (preflight.status, preflight.body) == (204, b"")
    for _ in range(4):
        answer = await ask(app, "/books", "", ORIGIN)
        assert answer.headers["access-control-allow-origin"] == "https://example.com"
        assert "Origin" in answer.headers["vary"].split(", ")
    is_problem(answer, "too_many_requests")
    other = await ask(app, "/books", "", ("Origin", "https://evil.org"), peer="192.0.2.2")
    assert "access-control-allow-origin" not in other.headers
    assert "Origin" in other.headers["vary"].split(", ")


async def test_no_cors() -> None:
    """Without allowed origins, there are no CORS headers."""
    answer = await ask(guarded(), "/books", "", ORIGIN, ("Access-Control-Request-Method", "PUT"), method="OPTIONS")
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert "Origin" not in answer.headers["vary"]


# Headers


async def test_headers() -> None:
    """Every response has the security headers and is not cached, including the gate's own rejections."""
    for answer in (await ask(guarded()), await ask(guarded(), host=None), await ask(guarded(answering(status=500)))):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


async def test_own_headers_win() -> None:
    """Headers that a handler sets take precedence; its Vary is extended."""
    own = ((b"cache-control", b"no-cache"), (b"content-security-policy", b"default-src 'self'"), (b"vary", b"Accept"))
    answer = await ask(guarded(answering(b"{}", *own)))
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    assert answer.headers["vary"] == "Accept, Accept-Encoding"


async def test_head() -> None:
    """HEAD has the status and headers of GET, including the length, but no body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["method"] == "GET"
        await answering(LONG, (b"etag", b'"7"'))(scope, receive, send)

    for accepted in ("identity", "gzip"):
        get, head = [
            await ask(guarded(app), "/books", "", ("Accept-Encoding", accepted), ("X-Request-ID", "1"), method=method)
            for method in ("GET", "HEAD")
        ]
        assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


async def test_allow() -> None:
    """If a method is not allowed, Allow lists HEAD along with GET."""
    for own, allowed in ((b"GET, OPTIONS", "GET, HEAD, OPTIONS"), (b"POST", "POST")):
        assert (await ask(guarded(answering(b"", (b"allow", own), status=405)))).headers["allow"] == allowed


# Compression


@pytest.mark.parametrize("coding", CODINGS)
async def test_compressed(coding: str) -> None:
    """A long body has the requested coding, with its length, its tag and Vary."""
    app = guarded(answering(LONG, (b"etag", b'"7"')))
    answer = await ask(app, "/books", "", ("Accept-Encoding", coding))
    assert answer.body == CODINGS[coding](LONG)
    assert answer.headers["content-encoding"] == coding
    assert answer.headers["etag"] == f'"7-{coding}"'
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_streamed_body_is_compressed_as_a_whole(coding: str) -> None:
    """The parts of a stream are one compressed body."""

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
        await send({"type": "http.response.body", "body": LONG, "more_body": True})
        await send({"type": "http.response.body", "body": LONG, "more_body": False})

    answer = await ask(guarded(streaming), "/books", "", ("Accept-Encoding", coding))
    assert answer.headers["content-encoding"] == coding
    assert decode(answer.body, coding) == LONG + LONG


async def test_not_compressed() -> None:
    """Short, coded and image bodies are sent unchanged, as is any body that no client asked to compress or
    with `compression: off`; Vary is set unless compression is off."""
    picture = (b"content-type", b"image/png")

    async def drawing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [picture]})
        await send({"type": "http.response.body", "body": LONG})

    gzip = ("Accept-Encoding", "gzip")
    for app in (answering(b"x" * 1023), answering(LONG, (b"content-encoding", b"br")), drawing):
        answer = await ask(guarded(app), "/books", "", gzip)
        assert answer.headers.get("content-encoding") != "gzip"
        assert answer.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in (await ask(guarded(answering(LONG)))).headers
    off = await ask(guarded(answering(LONG), compression=False), "/books", "", gzip)
    assert off.body == LONG
    assert "vary" not in off.headers


async def test_identity_refused() -> None:
    """A client that refuses uncompressed bodies gets short ones compressed too."""
    answer = await ask(guarded(answering(b"short")), "/books", "", ("Accept-Encoding", "gzip, identity;q=0"))
    assert answer.headers["content-encoding"] == "gzip"


async def test_not_modified() -> None:
    """A 304 has Vary and the tag of the client's copy, but no Cache-Control that would apply to that copy."""
    app = guarded(answering(b"", (b"etag", b'"7"'), status=304))
    gzip = ("Accept-Encoding", "gzip")
    coded = await ask(app, "/books", "", gzip, ("If-None-Match", '"7-gzip"'))
    plain = await ask(app, "/books", "", gzip, ("If-None-Match", '"7"'))
    assert (coded.status, coded.headers["etag"], plain.headers["etag"]) == (304, '"7-gzip"', '"7"')
    for answer in (coded, plain):
        assert answer.headers["vary"] == "Accept-Encoding"
        assert "cache-control" not in answer.headers


async def test_weak_tags() -> None:
    """A weak tag is the same for the compressed body."""
    app = guarded(answering(LONG, (b"etag", b'W/"7"')))
    answer = await ask(app, "/books", "", ("Accept-Encoding", "gzip"))
    assert (answer.headers["content-encoding"], answer.headers["etag"]) == ("gzip", 'W/"7"')


async def stream(parts: int, on_send: Callable[[], Awaitable[None]]) -> list[Any]:
    """Return what a client receives that awaits `on_send` for each part of a streamed response."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
        for _ in range(parts):
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message["more_body"]:
            await on_send()
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "client": ("::1", 1)}
    await soon(guarded(app))(scope | {"headers": [(b"host", b"a")]}, asyncio.Event().wait, send)
    return sent


async def test_a_stream_may_last_longer_than_a_request() -> None:
    """Each part has the deadline of a request, so a stream of many parts outlives it."""
    sent = await stream(5, lambda: asyncio.sleep(0.01))
    assert b"".join(message["body"] for message in sent[1:]) == b"part" * 5
    assert sent[-1]["more_body"] is False


@pytest.mark.parametrize("limit", ["SEND_WITHIN_S", "STREAM_WITHIN_S"])
async def test_a_stream_is_bounded(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """A client that does not read, and a stream without end, are cut off by an error after the response began."""
    monkeypatch.setattr(gate, limit, 0.03)

    def on_send() -> Awaitable[None]:
        return asyncio.sleep(60 if limit == "SEND_WITHIN_S" else 0.01)

    with pytest.raises(TimeoutError):
        await stream(100_000, on_send)
