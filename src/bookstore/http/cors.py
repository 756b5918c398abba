"""CORS: the origins whose pages may read responses. None by default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

Headers = tuple[tuple[bytes, bytes], ...]

_RESPONSE_HEADERS: Final = (
    b"ETag, Last-Modified, Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
)
_PREFLIGHT: Final[Headers] = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-Request-ID",
    ),
    (b"access-control-max-age", b"600"),
)


class Cors:
    """CORS headers for exactly these `origins`, without credentials: browsers send no cookies, and a page sends its
    token itself."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._headers: Mapping[bytes, Headers] = {
            origin.encode(): (
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-expose-headers", _RESPONSE_HEADERS),
            )
            for origin in origins
        }

    def headers(self, origin: bytes | None) -> Headers:
        """Return the headers of a response to a request from `origin`, or none if it is not allowed."""
        return self._headers.get(origin, ()) if origin else ()

    def preflight(self, request: Mapping[bytes, bytes]) -> Headers | None:
        """Return the additional headers of a preflight response, whatever the path.

        `request` has the headers of an OPTIONS request. Returns None unless it is a preflight from an allowed origin.
        """
        if b"access-control-request-method" in request and self.headers(request.get(b"origin")):
            return _PREFLIGHT
        return None
