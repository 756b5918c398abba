"""The gate in front of the service: what every request has to pass, and what every response bears.

Pure ASGI around the whole app, so that it holds for errors and unknown paths too; some 20 µs of CPU a
request. What it refuses never reaches a route. The size of bodies is Litestar's `request_max_body_size`,
that of headers granian's buffer (server.py).
"""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from typing import Any, Final

from litestar.types import ASGIApp, Message, Receive, Send

from bookstore.config.request_policy import RequestPolicy
from bookstore.exceptions import ApiError
from bookstore.http import compression, problem_details, rate_limit
from bookstore.http import request_id as correlation
from bookstore.http.client_address import client
from bookstore.http.compression import LEAST_BYTES, Choice
from bookstore.http.cors import Cors
from bookstore.http.deadlines import Deadline, Deadlines
from bookstore.http.rate_limit import RateLimit
from bookstore.profile.engine_profile import EngineProfile

LONGEST_URL: Final = 8 * 1024
"""Bytes of path and query."""
MOST_PARAMETERS: Final = 100
BODY_WITHIN_S: Final = 10.0
"""How long a body may take to arrive, all in all."""
MARGIN_S: Final = 1.0
"""What a request may take beyond waiting for a connection and one statement."""

PROBES: Final = frozenset({"/health/live", "/health/ready"})
"""What an orchestrator asks, by whatever host and as often as it likes."""

_HOST: Final = re.compile(rb"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?\.?)(?::[0-9]{1,5})?")
_LONGEST_HOST: Final = 262
"""Bytes: 255 of a name, and a port."""

_NO_STORE: Final = (b"cache-control", b"no-store")
_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""For an API: a browser is to run, frame and guess nothing. A handler's own header wins."""

Headers = list[tuple[bytes, bytes]]


class Gate:
    """`app` behind the limits, hosts, rates and origins of `policy` and the deadline and compression of
    `profile`."""

    def __init__(self, app: ASGIApp, profile: EngineProfile, policy: RequestPolicy) -> None:
        self.cors = Cors(policy.origins) if policy.origins else None
        self.compresses = profile.compression
        self.vary = ", ".join(
            name for name, is_on in (("Accept-Encoding", self.compresses), ("Origin", self.cors)) if is_on
        ).encode()
        self._app = app
        self._deadlines = Deadlines()
        self._hosts = frozenset(name.encode() for name in policy.hosts)
        self._rate = RateLimit(policy.rate_limit, rate_limit.table()) if policy.rate_limit else None
        self._proxies = policy.proxies
        self._deadline_s = profile.pool_timeout + profile.statement_timeout + MARGIN_S

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fields = dict(scope["headers"])
        request_id = correlation.begin(fields.get(correlation.HEADER), scope)
        response = _Response(self, scope["method"], fields, send, request_id)
        try:
            self._admit(scope, fields)
            if scope["method"] == "OPTIONS" and self.cors and (headers := self.cors.preflight(fields)) is not None:
                await response.whole(204, list(headers), b"")
                return
            if scope["method"] == "HEAD":
                scope["method"] = "GET"  # the same headers; the body stays here
            await self._in_time(scope, fields, receive, response)
        except ApiError as fault:
            await response.whole(*problem_details.encoded(scope["path"], fault))
        except Exception as error:
            bug = problem_details.bug(scope["method"], scope["path"], error)
            if response.is_sent:  # it cannot become another one: the server breaks it off
                correlation.end_logged()
                raise
            await response.whole(*problem_details.encoded(scope["path"], bug))

    def _admit(self, scope: Any, fields: dict[bytes, bytes]) -> None:
        """Raises ApiError for a request that is too long, comes too soon or to the wrong host."""
        is_probe = scope["path"] in PROBES
        if self._rate is not None and not is_probe:
            self._count(scope)
        query: bytes = scope["query_string"]
        if len(scope["raw_path"]) + len(query) > LONGEST_URL:
            raise ApiError("uri_too_long", f"Path and query may have {LONGEST_URL} bytes.")
        if query.count(b"&") >= MOST_PARAMETERS:
            raise ApiError("invalid_parameter", f"A request may have {MOST_PARAMETERS} query parameters.")
        if len(fields) != len(scope["headers"]) and sum(name == b"host" for name, _ in scope["headers"]) > 1:
            raise ApiError("unknown_host", "There is more than one Host header.")
        host = fields.get(b"host", b"")
        name = _host(host) if len(host) <= _LONGEST_HOST else None
        if name is None:
            raise ApiError("unknown_host", "The Host header is missing, or is not the name of a host.")
        if self._hosts and name not in self._hosts and not is_probe:
            raise ApiError("unknown_host", "The Host is none of this service's names (BOOKSTORE_ALLOWED_HOSTS).")

    def _count(self, scope: Any) -> None:
        assert self._rate is not None
        peer = scope["client"]
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"] if self._proxies else ()
        wait_s = self._rate.wait_s(client(peer[0] if peer else "", forwarded, self._proxies))
        if wait_s:
            told = f"More than {self._rate.per_s} requests a second came from here."
            raise ApiError("too_many_requests", told, headers={"Retry-After": str(wait_s)})

    async def _in_time(self, scope: Any, fields: dict[bytes, bytes], receive: Receive, response: _Response) -> None:
        """Lets the app answer. Raises ApiError where the body or the answer takes too long."""
        deadline = self._deadlines.start(self._deadline_s)
        body = None
        if b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0":
            body = _Body(receive, deadline, self._deadline_s)
        try:
            await self._app(scope, body.receive if body else receive, response.send)
        except asyncio.CancelledError:
            if not deadline.is_over:
                raise
            deadline.task.uncancel()
            if response.is_sent:
                raise TimeoutError("the deadline, in the middle of a response") from None
            if body and body.is_awaited:
                told = f"The body did not arrive within {BODY_WITHIN_S:g} s."
                raise ApiError("request_timeout", told, headers={"Connection": "close"}) from None
            raise ApiError("deadline", f"The request was not done within {self._deadline_s:g} s.") from None
        finally:
            self._deadlines.stop(deadline)


class _Body:
    """Gives a body its own time to arrive; the deadline begins when it is there. One that breaks off is the
    client's mistake, not a bug."""

    def __init__(self, receive: Receive, deadline: Deadline, deadline_s: float) -> None:
        self.is_awaited = False
        self._receive = receive
        self._deadline = deadline
        self._deadline_s = deadline_s
        self._is_begun = False

    async def receive(self) -> Any:
        if not self._is_begun:
            self._is_begun = self.is_awaited = True
            self._deadline.move(BODY_WITHIN_S)
        message = await self._receive()
        if self.is_awaited and message["type"] == "http.disconnect":
            raise ApiError("malformed_body", "The body did not arrive whole.")
        if self.is_awaited and not message.get("more_body"):
            self.is_awaited = False
            self._deadline.move(self._deadline_s)
        return message


class _Response:
    """Sends a response with the gate's headers, and its body in the coding that the client wants."""

    __slots__ = ("_choice", "_fields", "_gate", "_is_head", "_request_id", "_send", "_start", "is_sent")

    def __init__(self, gate: Gate, method: str, fields: dict[bytes, bytes], send: Send, request_id: str) -> None:
        self.is_sent = False
        self._gate = gate
        self._fields = fields
        self._is_head = method == "HEAD"
        self._send = send
        self._request_id = (correlation.HEADER, request_id.encode())
        self._start: Any = None
        wanted = fields.get(b"accept-encoding") if gate.compresses else None
        self._choice = compression.choose(wanted) if wanted else Choice(None)

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Sends a response that is known whole."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def send(self, message: Message) -> None:
        """Takes the app's messages. The start waits for the body, whose coding its headers tell."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is not None and message["type"] == "http.response.body":
            start, self._start = self._start, None
            body = message.get("body", b"")
            start["headers"], message["body"] = self._finished(start, body, whole=not message.get("more_body"))
            self.is_sent = True
            await self._send(start)
        if self._is_head and message["type"] == "http.response.body":
            message["body"] = b""
        await self._send(message)

    def _finished(self, start: Any, body: bytes, *, whole: bool) -> tuple[Headers, bytes]:
        headers: Headers = list(start["headers"])
        there = dict(headers)
        headers += [header for header in _HEADERS if header[0] not in there]
        headers.append(self._request_id)
        if b"cache-control" not in there and start["status"] != 304:  # a 304 speaks of what the client has
            headers.append(_NO_STORE)
        if b"allow" in there:
            headers = _with(headers, b"allow", there[b"allow"].replace(b"GET", b"GET, HEAD"))
        gate = self._gate
        if gate.cors:
            headers += gate.cors.headers(self._fields.get(b"origin"))
        if gate.compresses:
            headers, body = self._coded(headers, there, start["status"], body, whole=whole)
        return (_varying(headers, there, gate.vary) if gate.vary else headers), body

    def _coded(
        self, headers: Headers, there: dict[bytes, bytes], status: int, body: bytes, *, whole: bool
    ) -> tuple[Headers, bytes]:
        coding, always = self._choice
        if not coding or b"content-encoding" in there:
            return headers, body
        etag = there.get(b"etag")
        coded = compression.coded_etag(etag.decode("latin-1"), coding).encode("latin-1") if etag else None
        if status == 304 and coded and coded in self._fields.get(b"if-none-match", b""):
            return _with(headers, b"etag", coded), body  # the tag of what this client has
        is_worth = whole and (len(body) >= LEAST_BYTES or (always and body))
        if not is_worth or not compression.is_compressible(there.get(b"content-type", b"")):
            return headers, body
        body = compression.CODINGS[coding](body)
        headers = _with(headers, b"content-length", b"%d" % len(body))
        headers.append((b"content-encoding", coding.encode()))
        return (_with(headers, b"etag", coded) if coded else headers), body


def _with(headers: Headers, name: bytes, value: bytes) -> Headers:
    return [header for header in headers if header[0] != name] + [(name, value)]


def _varying(headers: Headers, there: dict[bytes, bytes], vary: bytes) -> Headers:
    own = there.get(b"vary")
    if own is None:
        headers.append((b"vary", vary))
        return headers
    return _with(headers, b"vary", own + b", " + vary)


@lru_cache(maxsize=1024)
def _host(raw: bytes) -> bytes | None:
    """The name in a Host header, lower case, without the port; None where it is none."""
    match = _HOST.fullmatch(raw.lower())
    return match[1] if match else None
