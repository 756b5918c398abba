from __future__ import annotations

from bookstore.http.cors import Cors

PAGE = "https://example.com"
PREFLIGHT = {b"origin": PAGE.encode(), b"access-control-request-method": b"PUT"}


def test_preflight() -> None:
    """A preflight from an allowed origin gets the methods and headers, but no credentials."""
    answer = dict(Cors([PAGE]).preflight(PREFLIGHT) or ())
    assert b"PUT" in answer[b"access-control-allow-methods"]
    for name in (b"Authorization", b"Content-Type", b"If-Match", b"If-None-Match", b"Idempotency-Key", b"X-Request-ID"):
        assert name in answer[b"access-control-allow-headers"].split(b", ")
    assert b"access-control-allow-credentials" not in answer


def test_no_preflight() -> None:
    """A similar or missing origin, `null`, and a plain OPTIONS request get no CORS headers."""
    cors = Cors([PAGE])
    for origin in (b"http://example.com", b"https://example.com.evil.org", b"https://exampleXcom", b"null", b""):
        assert cors.preflight(PREFLIGHT | {b"origin": origin}) is None
        assert cors.headers(origin) == ()
    assert cors.headers(None) == ()
    assert cors.preflight({b"origin": PAGE.encode()}) is None
    assert cors.preflight({}) is None


def test_answer() -> None:
    """A response names the origin and the headers that a page may read."""
    answer = dict(Cors([PAGE, "http://localhost:3000"]).headers(b"http://localhost:3000"))
    assert answer[b"access-control-allow-origin"] == b"http://localhost:3000"
    for name in (b"ETag", b"Last-Modified", b"Link", b"Location", b"Retry-After", b"X-Request-ID"):
        assert name in answer[b"access-control-expose-headers"].split(b", ")
