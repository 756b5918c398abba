"""ASGI middleware at the edge: checks every request, sets headers on every response.

It wraps the whole app, so it also covers errors and unknown paths; it costs about 20 µs of CPU per request.
Rejected requests never reach a route. Litestar limits the body size (`request_max_body_size`), granian the number of
headers.
"""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from typing import Any, Final

from litestar.types import ASGIApp, Message, Receive, Send

from bookstore.config.request_policy import RequestPolicy
from bookstore.exceptions import ApiError
from bookstore.http import compression, problem_details, rate_limit, request_id
from bookstore.http.client_address import client
from bookstore.http.compression import LEAST_BYTES, Choice, Stream
from bookstore.http.cors import Cors
from bookstore.http.deadlines import Deadline, Deadlines
from bookstore.http.rate_limit import RateLimit
from bookstore.profile.engine_profile import EngineProfile

LONGEST_URL: Final = 8 * 1024
"""Bytes of path and query string."""
LARGEST_HEAD: Final = 64 * 1024
"""Bytes of the request line and headers. granian limits its buffer to the same size, but reads beyond it at times."""
MOST_PARAMETERS: Final = 100
BODY_WITHIN_S: Final = 10.0
"""Total time in which a request body must arrive."""
MARGIN_S: Final = 1.0
"""Added to pool_timeout and statement_timeout, this gives the deadline of a request, and of each part of a stream."""
SEND_WITHIN_S: Final = 30.0
"""Time for a client to receive a part of a streamed response. Slower clients, and idle ones, are disconnected."""
STREAM_WITHIN_S: Final = 900.0
"""Total time of a streamed response, so that it cannot occupy its place in a worker for ever."""

PROBES: Final = frozenset({"/health/live", "/health/ready"})
"""Orchestrators may probe these under any host name and at any rate."""

_HOST: Final = re.compile(rb"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?\.?)(?::[0-9]{1,5})?")
_LONGEST_HOST: Final = 262
"""Bytes: 255 for the name, and a port."""

_NO_STORE: Final = (b"cache-control", b"no-store")
_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""For an API: a browser must not run, frame or sniff anything. A header that a handler sets takes precedence."""

Headers = list[tuple[bytes, bytes]]


class Gate:
    """Wraps `app`, with the hosts, origins and rate limit of `policy` and the deadline and compression of `profile`."""

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
        self.deadline_s = profile.pool_timeout + profile.statement_timeout + MARGIN_S

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fields = dict(scope["headers"])
        if len(fields) != len(scope["headers"]):
            fields = _combine_lines(scope["headers"])
            scope["headers"] = list(fields.items())
        current_id = request_id.begin(fields.get(request_id.HEADER), scope)
        response = _Response(self, scope["method"], fields, send, current_id)
        try:
            self._admit(scope, fields, response)
            if scope["method"] == "OPTIONS" and self.cors and (headers := self.cors.preflight(fields)) is not None:
                await response.send_whole(204, list(headers), b"")
                return
            if scope["method"] == "HEAD":
                scope["method"] = "GET"  # for the same headers; _Response drops the body
                scope["is_head"] = True  # for handlers that stream
            await self._run_within_deadline(scope, fields, receive, response)
        except ApiError as error:
            await response.send_whole(*problem_details.encode_problem(scope["path"], error))
        except Exception as error:
            bug = problem_details.internal_error(scope["method"], scope["path"], error)
            if response.is_sent:  # too late for another response: the server aborts this one
                request_id.mark_logged()
                raise
            await response.send_whole(*problem_details.encode_problem(scope["path"], bug))

    def _admit(self, scope: Any, fields: dict[bytes, bytes], response: _Response) -> None:
        """Raise ApiError if the URL or head is too long, the client exceeds the rate limit or the host is wrong."""
        is_probe = scope["path"] in PROBES
        if self._rate is not None and not is_probe:
            self._check_rate(self._rate, scope, response)
        query: bytes = scope["query_string"]
        if len(scope["raw_path"]) + len(query) > LONGEST_URL:
            raise ApiError("uri_too_long", f"The path and query string exceed {LONGEST_URL} bytes.")
        lines = sum(map(len, fields)) + sum(map(len, fields.values())) + 4 * len(fields)
        head = len(scope["raw_path"]) + len(query) + lines
        if head > LARGEST_HEAD:
            raise ApiError("headers_too_large", f"The request line and headers exceed {LARGEST_HEAD} bytes.")
        if query.count(b"&") >= MOST_PARAMETERS:
            raise ApiError("invalid_parameter", f"The request has more than {MOST_PARAMETERS} query parameters.")
        host = fields.get(b"host", b"")
        name = _parse_host(host) if len(host) <= _LONGEST_HOST else None
        if name is None:
            raise ApiError("unknown_host", "The Host header is missing, repeated or not a valid host name.")
        if self._hosts and name not in self._hosts and not is_probe:
            raise ApiError("unknown_host", "This service does not serve the requested host (BOOKSTORE_ALLOWED_HOSTS).")

    def _check_rate(self, rate: RateLimit, scope: Any, response: _Response) -> None:
        """Give the response the headers RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10).

        Raises ApiError if the client exceeds the rate.
        """
        peer = scope["client"]
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"] if self._proxies else ()
        allowance = rate.admit(client(peer[0] if peer else "", forwarded, self._proxies))
        response.rate = (
            (b"ratelimit-policy", f'"client";{rate.policy}'.encode()),
            (b"ratelimit", b'"client";r=%d;t=%d' % (allowance.remaining, allowance.reset_s)),
        )
        if allowance.wait_s:
            detail = f"This client exceeds the limit of {rate.per_s} requests per second."
            raise ApiError("too_many_requests", detail, headers={"Retry-After": str(allowance.wait_s)})

    async def _run_within_deadline(
        self, scope: Any, fields: dict[bytes, bytes], receive: Receive, response: _Response
    ) -> None:
        """Call the app. Raises ApiError if the body or the response takes too long."""
        deadline = response.deadline = self._deadlines.start(self.deadline_s)
        body = None
        if b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0":
            body = _Body(receive, deadline, self.deadline_s)
        try:
            await self._app(scope, body.receive if body else receive, response.send)
        except asyncio.CancelledError:
            if not deadline.is_over:
                raise
            deadline.task.uncancel()
            if response.is_sent:
                raise TimeoutError("deadline exceeded in the middle of a response") from None
            if body and body.is_awaited:
                detail = f"The request body did not arrive within {BODY_WITHIN_S:g} s."
                raise ApiError("request_timeout", detail, headers={"Connection": "close"}) from None
            raise ApiError("deadline", f"The request was not completed within {self.deadline_s:g} s.") from None
        finally:
            self._deadlines.stop(deadline)


class _Body:
    """Gives the body its own time limit; the deadline starts once the body has arrived.

    An incomplete body is a client error, not a bug.
    """

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
            raise ApiError("malformed_body", "The request body is incomplete.")
        if self.is_awaited and not message.get("more_body"):
            self.is_awaited = False
            self._deadline.move(self._deadline_s)
        return message


class _Response:
    """Adds the gate's headers to a response and compresses its body as negotiated.

    Each part of a streamed body has a time limit of its own, and so has the next part until it arrives.
    """

    __slots__ = (
        *("_choice", "_fields", "_gate", "_is_head", "_request_id", "_send", "_start", "_stream"),
        *("deadline", "is_sent", "rate"),
    )

    def __init__(self, gate: Gate, method: str, fields: dict[bytes, bytes], send: Send, current_id: str) -> None:
        self.is_sent = False
        self.deadline: Deadline | None = None
        self.rate: tuple[tuple[bytes, bytes], ...] = ()
        self._stream: Stream | None = None
        self._gate = gate
        self._fields = fields
        self._is_head = method == "HEAD"
        self._send = send
        self._request_id = (request_id.HEADER, current_id.encode())
        self._start: Any = None
        wanted = fields.get(b"accept-encoding") if gate.compresses else None
        self._choice = compression.choose(wanted) if wanted else Choice(None)

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a complete response."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def send(self, message: Message) -> None:
        """Forward an ASGI message of the app. The start is held back until the coding of the body is known."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        has_more = message.get("more_body", False)
        if self._start is not None:
            start, self._start = self._start, None
            start["headers"], message["body"] = self._finish(start, message.get("body", b""), is_whole=not has_more)
            self.is_sent = True
            await self._send(start)
            if has_more and self.deadline:
                self.deadline.latest = asyncio.get_running_loop().time() + STREAM_WITHIN_S
        elif self._stream is not None:
            message["body"] = self._stream.feed(message.get("body", b""))
        if self._stream is not None and not has_more:
            message["body"] += self._stream.finish()
        if self._is_head:
            message["body"] = b""
        if not has_more:
            await self._send(message)
            return
        if self.deadline:
            self.deadline.move(SEND_WITHIN_S)
        if message["body"]:  # a compressor may keep a part
            await self._send(message)
        if self.deadline:
            self.deadline.move(self._gate.deadline_s)

    def _finish(self, start: Any, body: bytes, *, is_whole: bool) -> tuple[Headers, bytes]:
        headers: Headers = list(start["headers"])
        own = dict(headers)
        headers += [header for header in _HEADERS if header[0] not in own]
        headers.append(self._request_id)
        headers += self.rate
        if b"cache-control" not in own and start["status"] != 304:  # on a 304 it would apply to the client's copy
            headers.append(_NO_STORE)
        if b"allow" in own:
            headers = _replace_header(headers, b"allow", own[b"allow"].replace(b"GET", b"GET, HEAD"))
        gate = self._gate
        if gate.cors:
            headers += gate.cors.headers(self._fields.get(b"origin"))
        if gate.compresses:
            headers, body = self._compress(headers, own, start["status"], body, is_whole=is_whole)
        return (_add_vary(headers, own, gate.vary) if gate.vary else headers), body

    def _compress(
        self, headers: Headers, own: dict[bytes, bytes], status: int, body: bytes, *, is_whole: bool
    ) -> tuple[Headers, bytes]:
        coding, always = self._choice
        if not coding or b"content-encoding" in own:
            return headers, body
        etag = own.get(b"etag")
        coded = compression.coded_etag(etag.decode("latin-1"), coding).encode("latin-1") if etag else None
        if status == 304 and coded and coded in self._fields.get(b"if-none-match", b""):
            return _replace_header(headers, b"etag", coded), body  # the tag of the client's copy
        pays_off = not is_whole or len(body) >= LEAST_BYTES or (always and body)
        if not pays_off or not compression.is_compressible(own.get(b"content-type", b"")):
            return headers, body
        if is_whole:
            body = compression.CODINGS[coding](body)
            headers = _replace_header(headers, b"content-length", b"%d" % len(body))
        else:
            self._stream = compression.STREAMS[coding]()
            body = self._stream.feed(body)
        headers.append((b"content-encoding", coding.encode()))
        return (_replace_header(headers, b"etag", coded) if coded else headers), body


def _replace_header(headers: Headers, name: bytes, value: bytes) -> Headers:
    return [header for header in headers if header[0] != name] + [(name, value)]


def _add_vary(headers: Headers, own: dict[bytes, bytes], vary: bytes) -> Headers:
    own_vary = own.get(b"vary")
    if own_vary is None:
        headers.append((b"vary", vary))
        return headers
    return _replace_header(headers, b"vary", own_vary + b", " + vary)


def _combine_lines(headers: Headers) -> dict[bytes, bytes]:
    """Join the lines of each header to one list (RFC 9110, 5.3). Of a header that is no list, two lines are invalid."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        fields[name] = b"%s, %s" % (fields[name], value) if name in fields else value
    return fields


@lru_cache(maxsize=1024)
def _parse_host(raw: bytes) -> bytes | None:
    """Return the name in a Host header in lower case and without the port, or None if it is invalid."""
    match = _HOST.fullmatch(raw.lower())
    return match[1] if match else None
