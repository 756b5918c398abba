"""Raw requests that no HTTP library would send: they are rejected, and the service keeps working."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from http.client import HTTPConnection
from typing import Final, NamedTuple

import httpx
import pytest

from bookstore.lab.testbed.deployment import HOST

from .conftest import TOKEN, Service, Start

LIMIT_S: Final = 20
CLOSE: Final = b"Connection: close\r\n"
GET: Final = b"GET /books/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE
POST: Final = (
    b"POST /books HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\n"
    % TOKEN.encode()
) + CLOSE
DELETE: Final = b"DELETE /books/1" + POST[11:]
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
PART: Final = b"1000\r\n%s\r\n" % (b" " * 4096)


class Raw(NamedTuple):
    """The bytes of a request, and the status and `code` of the response. `code` is None if the HTTP parser rejects the
    request, because it responds without a body."""

    status: int
    code: str | None
    sent: bytes


def get(target: bytes) -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n" % (target, CLOSE)


REQUESTS: Final = {
    # Host
    "no Host": Raw(400, "unknown_host", b"GET /books/1 HTTP/1.1\r\n" + CLOSE + b"\r\n"),
    "two Hosts": Raw(400, "unknown_host", GET + b"Host: localhost\r\n\r\n"),
    "the same Host twice": Raw(400, "unknown_host", GET + b"Host: 127.0.0.1\r\n\r\n"),
    "a Host of two lines": Raw(400, None, b"GET /books/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n localhost\r\n\r\n"),
    "HTTP/1.0 without Host": Raw(400, "unknown_host", b"GET /books/1 HTTP/1.0\r\n\r\n"),
    "an absolute target without Host": Raw(200, None, b"GET http://127.0.0.1/books/1 HTTP/1.1\r\n" + CLOSE + b"\r\n"),
    "an absolute target of another host": Raw(
        400, "unknown_host", b"GET http://evil.example/books/1 HTTP/1.1\r\n" + CLOSE + b"\r\n"
    ),
    # targets
    "%zz": Raw(404, "not_found", get(b"/books/%zz")),
    "%zz for a number": Raw(400, "invalid_parameter", get(b"/books?limit=%zz")),
    "%00": Raw(404, "not_found", get(b"/books/%00")),
    "1%00": Raw(404, "not_found", get(b"/books/1%00")),
    "%00 in a query": Raw(400, "invalid_parameter", get(b"/books?q=%00")),
    "%ff": Raw(404, "not_found", get(b"/books/%ff")),
    "a byte that is not ASCII": Raw(400, None, get(b"/books/\xff")),
    "a space": Raw(400, None, get(b"/books/1 x")),
    "dots": Raw(404, "not_found", get(b"/../../etc/passwd")),
    "dots on the way": Raw(404, "not_found", get(b"/books/../books/1")),
    "encoded dots": Raw(404, "not_found", get(b"/%2e%2e/%2e%2e/etc/passwd")),
    "backslashes": Raw(404, "not_found", get(b"/books\\1")),
    "*": Raw(404, "not_found", b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE + b"\r\n"),
    "9 kB": Raw(414, "uri_too_long", get(b"/books/" + b"1" * 9_000)),
    "500 kB": Raw(431, None, get(b"/books/" + b"1" * 500_000)),
    # methods and versions
    "TRACE": Raw(405, "method_not_allowed", b"TRACE" + GET[3:] + b"\r\n"),
    "a method in lower case": Raw(405, "method_not_allowed", b"get" + GET[3:] + b"\r\n"),
    "CONNECT": Raw(405, "method_not_allowed", b"CONNECT a.b:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE + b"\r\n"),
    "HTTP/0.9": Raw(400, None, b"GET /books/1\r\n\r\n"),
    "HTTP/2.0": Raw(400, None, b"GET /books/1 HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n"),
    "TLS": Raw(400, None, bytes.fromhex("16030100fa010000f60303") + b"x" * 60),
    "every possible byte": Raw(400, None, bytes(range(256)) * 4),
    # headers
    "a space after a name": Raw(400, None, GET + b"X : 1\r\n\r\n"),
    "a header on two lines": Raw(400, None, GET + b"X: a\r\n b\r\n\r\n"),
    "NUL in a header": Raw(400, None, GET + b"X: a\0b\r\n\r\n"),
    "lines that end in CR": Raw(400, None, (GET + b"\r\n").replace(b"\r\n", b"\r")),
    "200 headers": Raw(431, None, GET + b"".join(b"X-%d: 1\r\n" % number for number in range(200)) + b"\r\n"),
    "a header of 200 kB": Raw(431, None, GET + b"X: " + b"x" * 200_000 + b"\r\n\r\n"),
    "a header of 70 kB": Raw(431, "headers_too_large", GET + b"X: " + b"x" * 70_000 + b"\r\n\r\n"),
    "90 headers of 1 kB": Raw(431, "headers_too_large", GET + (b"X: " + b"x" * 999 + b"\r\n") * 90 + b"\r\n"),
    "a header of 64 kB": Raw(200, None, GET + b"X: " + b"x" * 65_400 + b"\r\n\r\n"),
    "a header that is not UTF-8": Raw(412, "stale", DELETE + b'If-Match: "\xff"\r\n\r\n'),
    # bodies
    "length and chunks": Raw(400, "malformed_body", POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
    "two lengths": Raw(400, None, POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
    "a length below 0": Raw(400, None, POST + b"Content-Length: -1\r\n\r\n{}"),
    "a length beyond 2^64": Raw(400, None, POST + b"Content-Length: 18446744073709551616\r\n\r\n{}"),
    "an unknown transfer coding": Raw(400, None, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "a chunk without a length": Raw(400, "malformed_body", POST + CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n"),
    "a chunk that is too long": Raw(400, "malformed_body", POST + CHUNKED + b"\r\n1\r\n{}\r\n0\r\n\r\n"),
    "300 kB in chunks": Raw(413, "too_large", POST + CHUNKED + b"\r\n" + PART * 75 + b"0\r\n\r\n"),
    "an announced 1 TB": Raw(413, "too_large", POST + b"Content-Length: 1099511627776\r\n\r\n{}"),
    "an unknown expectation": Raw(422, "invalid_body", POST + b"Expect: tea\r\nContent-Length: 2\r\n\r\n{}"),
    # log injection
    "lines in a query": Raw(401, "unauthenticated", b"DELETE /books/1?%0d%0aFAKE=1" + GET[12:] + b"\r\n"),
    "lines in a route": Raw(404, "not_found", get(b"/%0d%0aFAKE%20ERROR%1b[31m")),
}  # fmt: skip


def exchange(service: Service, sent: bytes) -> bytes:
    """Send the bytes and return everything received until the service closes the connection."""
    with socket.create_connection((HOST, service.port), timeout=LIMIT_S) as connection:
        with suppress(ConnectionResetError, BrokenPipeError):  # the service may respond and close during the transfer
            connection.sendall(sent)
        received = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                received += part
        return received


def parse_response(received: bytes) -> tuple[int, str | None]:
    """Return (status, problem code) of the first response."""
    head, _, body = received.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    assert status, received[:200]
    return int(status[1]), json.loads(body)["code"] if b"application/problem+json" in head else None


def test_raw_requests(start: Start) -> None:
    """Each has its status and code, and after each the service responds to another client. The log has no errors and no
    lines that a client injected."""
    failures = []
    with start("default@pool_size=2") as service:
        for name, raw in REQUESTS.items():
            response = parse_response(exchange(service, raw.sent))
            if response != (raw.status, raw.code):
                failures.append(f"{name}: found {response}")
            assert httpx.get(f"{service.base}/books/1").status_code == 200, name
        log = service.log.read_text()
    assert not failures, "\n".join(failures)
    assert not re.search(r" ERROR |Traceback|^FAKE|\x1b", log, re.MULTILINE), log


def test_incomplete_bodies(start: Start) -> None:
    """A client that disconnects in the middle of a body causes no error in the log and creates no book."""
    with start("default@pool_size=2") as service:
        for announced in (b"Content-Length: 40\r\n\r\n", CHUNKED + b"\r\n28\r\n"):
            with socket.create_connection((HOST, service.port), timeout=LIMIT_S) as connection:
                connection.sendall(POST + announced + b'{"title": "Bad"}')
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
        page = httpx.get(f"{service.base}/books?total=true&limit=1").json()
        log = service.log.read_text()
    assert page["total"] == 25
    assert not re.search(r" ERROR |Traceback", log), log


@pytest.mark.parametrize(("token", "status"), [(TOKEN, 422), ("none", 401)], ids=["known", "none"])
def test_expect_100_continue(start: Start, token: str, status: int) -> None:
    """`Expect: 100-continue` gets 100 with a valid token, and an immediate 401 without one."""
    head = POST.replace(TOKEN.encode(), token.encode()) + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    with start("default@pool_size=2") as service:
        with socket.create_connection((HOST, service.port), timeout=LIMIT_S) as connection:
            connection.sendall(head)
            first = connection.recv(65536)
            if status == 422:
                assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
                connection.sendall(b"{}")
                first = connection.recv(65536)
        assert parse_response(first)[0] == status


def test_conditions_on_several_lines(start: Start) -> None:
    """The lines of a condition count as one list, in which empty elements are ignored (RFC 9110, 5.3 and 5.6.1)."""
    with start("default@pool_size=2") as service:
        etag = httpx.get(f"{service.base}/books/1").headers["etag"]
        headers = [("If-None-Match", '"x"'), ("If-None-Match", f",{etag},"), ("If-None-Match", '"y"')]
        assert httpx.get(f"{service.base}/books/1", headers=headers).status_code == 304
        assert httpx.get(f"{service.base}/books/1", headers=[headers[0], headers[2]]).status_code == 200
        token = ("Authorization", f"Bearer {TOKEN}")
        stale = [("If-Match", '"x"'), ("If-Match", ""), ("If-Match", '"y"'), token]
        assert httpx.delete(f"{service.base}/books/1", headers=stale).status_code == 412
        current = [("If-Match", '"x"'), ("If-Match", etag), token]
        assert httpx.delete(f"{service.base}/books/1", headers=current).status_code == 204


def _send_raw(port: int, headers: dict[str, str], body: bytes) -> int:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((HOST, port), timeout=LIMIT_S) as connection:
        connection.sendall(f"POST /books HTTP/1.1\r\nHost: {HOST}\r\n{lines}".encode())
        connection.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return parse_response(connection.recv(65536))[0]


def _send_chunks(port: int, headers: dict[str, str], body: bytes) -> int:
    parts = (body[start : start + 4096] for start in range(0, len(body), 4096))
    with closing(HTTPConnection(HOST, port, timeout=LIMIT_S)) as connection:
        connection.request("POST", "/books", parts, headers | {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        return connection.getresponse().status


def _send_with_httpx(port: int, headers: dict[str, str], body: bytes) -> int:
    return httpx.post(f"http://{HOST}:{port}/books", headers=headers, content=body).status_code


def _send_with_curl(port: int, headers: dict[str, str], body: bytes) -> int:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    options = [option for name, value in headers.items() for option in ("-H", f"{name}: {value}")]
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-", "-H", "Expect:"]
    url = f"http://{HOST}:{port}/books"
    return int(subprocess.run([*command, *options, url], input=body, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("send", [_send_raw, _send_chunks, _send_with_httpx, _send_with_curl])
def test_rejected_bodies(start: Start, send: Callable[[int, dict[str, str], bytes], int]) -> None:
    """A client that sends a whole body of 5 MB before it reads gets the response that rejects it, not a broken pipe."""
    body = b" " * 5_000_000
    with start("default@pool_size=2") as service:
        for token, status in ((TOKEN, 413), ("none", 401)):
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            assert [send(service.port, headers, body) for _ in range(5)] == [status] * 5
