from __future__ import annotations

from bookstore.http.cors import Cors

PAGE = "https://example.com"
PREFLIGHT = {b"origin": PAGE.encode(), b"access-control-request-method": b"PUT"}


def test_preflight() -> None:
    """A preflight from a known origin is told the methods and headers, and nothing of credentials."""
    answer = dict(Cors([PAGE]).preflight(PREFLIGHT) or ())
    assert b"PUT" in answer[b"access-control-allow-methods"]
    for name in (b"Authorization", b"Content-Type", b"If-Match", b"If-None-Match", b"Idempotency-Key", b"X-Request-ID"):
        assert name in answer[b"access-control-allow-headers"].split(b", ")
    assert b"access-control-allow-credentials" not in answer


def test_no_preflight() -> None:
    """Another origin, however near, `null`, none, or a plain OPTIONS are none."""
    cors = Cors([PAGE])
    for origin in (b"http://example.com", b"https://example.com.evil.org", b"https://exampleXcom", b"null", b""):
        assert cors.preflight(PREFLIGHT | {b"origin": origin}) is None
        assert cors.headers(origin) == ()
    assert cors.headers(None) == ()
    assert cors.preflight({b"origin": PAGE.encode()}) is None
    assert cors.preflight({}) is None


def test_answer() -> None:
    """An answer names the origin and what a page may read of it."""
    answer = dict(Cors([PAGE, "http://localhost:3000"]).headers(b"http://localhost:3000"))
    assert answer[b"access-control-allow-origin"] == b"http://localhost:3000"
    for name in (b"ETag", b"Last-Modified", b"Link", b"Location", b"Retry-After", b"X-Request-ID"):
        assert name in answer[b"access-control-expose-headers"].split(b", ")
