"""CORS: which pages of other origins may read our answers. Default: none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

Headers = tuple[tuple[bytes, bytes], ...]

_RESPONSE_HEADERS: Final = b"ETag, Last-Modified, Link, Location, Retry-After, X-Request-ID"
_PREFLIGHT: Final[Headers] = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-Request-ID",
    ),
    (b"access-control-max-age", b"600"),
)


class Cors:
    """The exact `origins` whose pages may ask. No credentials: a browser sends no cookie, a page sends its
    token itself."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._answers: Mapping[bytes, Headers] = {
            origin.encode(): (
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-expose-headers", _RESPONSE_HEADERS),
            )
            for origin in origins
        }

    def headers(self, origin: bytes | None) -> Headers:
        """What an answer to a request from `origin` says; nothing to others."""
        return self._answers.get(origin, ()) if origin else ()

    def preflight(self, request: Mapping[bytes, bytes]) -> Headers | None:
        """What the answer to an OPTIONS request with these headers says beside `headers`, whatever its path;
        None where it is no preflight, or one from an origin that may not ask."""
        if b"access-control-request-method" in request and self.headers(request.get(b"origin")):
            return _PREFLIGHT
        return None
