"""Content codings (RFC 9110): negotiation, compression of whole and streamed bodies, and matching entity tags.

zstd, br and gzip run at the level with the best balance of time and size (docs/decisions.md).
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEAST_BYTES: Final = 1024
"""Smaller bodies are not compressed: they fit in one or two packets either way."""


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(1, wbits=31)  # 31 adds gzip's header, here without a timestamp
    return compressor.compress(body) + compressor.flush()


CODINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda body: bytes(zstd.compress(body, level=1)),
    "br": lambda body: bytes(brotli.compress(body, quality=2)),
    "gzip": _gzip,
}
"""In order of preference, for clients that accept several equally."""


class Stream(NamedTuple):
    """The compression of a body that arrives in parts: `feed` returns what is ready, `finish` the rest."""

    feed: Callable[[bytes], bytes]
    finish: Callable[[], bytes]


def _gzip_stream() -> Stream:
    compressor = zlib.compressobj(1, wbits=31)
    return Stream(compressor.compress, compressor.flush)


def _brotli_stream() -> Stream:
    compressor = brotli.Compressor(quality=2)
    return Stream(compressor.process, compressor.finish)


def _zstd_stream() -> Stream:
    compressor = zstd.ZstdCompressor(level=1)
    return Stream(compressor.compress, compressor.flush)


STREAMS: Final[Mapping[str, Callable[[], Stream]]] = {
    "zstd": _zstd_stream,
    "br": _brotli_stream,
    "gzip": _gzip_stream,
}
"""The same codings for streamed bodies, at the same levels."""

_DECODINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda body: bytes(zstd.decompress(body)),
    "br": lambda body: bytes(brotli.decompress(body)),
    "gzip": lambda body: zlib.decompress(body, wbits=31),
}

_TYPES: Final = re.compile(rb"(text/[^;]*|[^;]*[/+](json|x-ndjson|yaml|xml|javascript))\s*(;.*)?", re.DOTALL)
_LONGEST: Final = 256
_WEIGHTED: Final = re.compile(r"([!#$%&'*+.^_`|~0-9a-z-]+)(?:\s*;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?))?")
_CODED_ETAG: Final = re.compile(rf'-(?:{"|".join(CODINGS)})"')


class Choice(NamedTuple):
    """A negotiated coding: a key of CODINGS, or None for an uncompressed body.

    `always` means that the client does not accept uncompressed bodies, so short ones are compressed too.
    """

    coding: str | None
    always: bool = False


def choose(accept_encoding: bytes) -> Choice:
    """Return the coding with the highest weight in this Accept-Encoding.

    If none is acceptable, the body is sent uncompressed, which is more useful than an error.
    """
    if len(accept_encoding) > _LONGEST:  # browsers send some 25 bytes
        return Choice(None)
    return _choose(accept_encoding)


@lru_cache(maxsize=256)
def _choose(accept_encoding: bytes) -> Choice:
    weights = _weights(accept_encoding.decode("latin-1"))
    rest = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, rest))
    weight = weights.get(best, rest)
    if weight == 0 or weights.get("identity", 0.0) > weight:
        return Choice(None)
    return Choice(best, always=weights.get("identity", weights.get("*")) == 0)


def _weights(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in text.lower().split(","):
        match = _WEIGHTED.fullmatch(part.strip())
        if match:  # malformed parts are ignored
            weights[match[1].removeprefix("x-")] = min(1.0, float(match[2] or 1))
    return weights


def decode(body: bytes, coding: str | None) -> bytes:
    """Decompress `body`; return it unchanged if `coding` is unknown."""
    decompress = _DECODINGS.get(coding or "identity")
    return decompress(body) if decompress and body else body


@lru_cache(maxsize=64)
def is_compressible(content_type: bytes) -> bool:
    """Return whether compression pays off for this type: yes for text and JSON, no for images."""
    return _TYPES.fullmatch(content_type.lower()) is not None


def coded_etag(etag: str, coding: str) -> str:
    """Return the tag of the compressed body: a different strong tag (`"7-gzip"`), or the same weak tag."""
    return etag if etag.startswith("W/") or not etag.endswith('"') else f'{etag[:-1]}-{coding}"'


def plain_etag(text: str) -> str:
    """Remove the coding from each tag in If-Match or If-None-Match: `"7-gzip", "8"` -> `"7", "8"`."""
    return _CODED_ETAG.sub('"', text) if "-" in text else text
