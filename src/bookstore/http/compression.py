"""Content codings (RFC 9110): which one a client wants, the coded body, and the entity tags that go with it.

Bodies are coded whole, in one call: zstd, br and gzip at the level where time and size are both small
(docs/decisions.md).
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
"""Below this a body fits in a packet or two, coded or not."""


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(1, wbits=31)  # 31: with gzip's header, which here bears no time
    return compressor.compress(body) + compressor.flush()


CODINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda body: bytes(zstd.compress(body, level=1)),
    "br": lambda body: bytes(brotli.compress(body, quality=2)),
    "gzip": _gzip,
}
"""The best first: it is taken where a client likes several equally."""

_DECODINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda body: bytes(zstd.decompress(body)),
    "br": lambda body: bytes(brotli.decompress(body)),
    "gzip": lambda body: zlib.decompress(body, wbits=31),
}

_TYPES: Final = re.compile(rb"(text/[^;]*|[^;]*[/+](json|yaml|xml|javascript))\s*(;.*)?", re.DOTALL)
_LONGEST: Final = 256
_WEIGHTED: Final = re.compile(r"([!#$%&'*+.^_`|~0-9a-z-]+)(?:\s*;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?))?")
_CODED_ETAG: Final = re.compile(rf'-(?:{"|".join(CODINGS)})"')


class Choice(NamedTuple):
    """`coding` is a key of CODINGS, None for a body as it is; `always` says that the client refuses a body
    as it is, so that a short one is coded too."""

    coding: str | None
    always: bool = False


def choose(accept_encoding: bytes) -> Choice:
    """What a client wants who sent this Accept-Encoding, by its weights.

    Where nothing that we have is acceptable, the body is sent as it is: more use than an error.
    """
    if len(accept_encoding) > _LONGEST:  # browsers send some 25 bytes
        return Choice(None)
    return _chosen(accept_encoding)


@lru_cache(maxsize=256)
def _chosen(accept_encoding: bytes) -> Choice:
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
        if match:  # what is malformed asks for nothing
            weights[match[1].removeprefix("x-")] = min(1.0, float(match[2] or 1))
    return weights


def decoded(body: bytes, coding: str | None) -> bytes:
    """What a client makes of a body in `coding`; one in an unknown coding stays."""
    decode = _DECODINGS.get(coding or "identity")
    return decode(body) if decode and body else body


@lru_cache(maxsize=64)
def is_compressible(content_type: bytes) -> bool:
    """Whether bodies of this type get smaller: text, JSON and the like do, pictures do not."""
    return _TYPES.fullmatch(content_type.lower()) is not None


def coded_etag(etag: str, coding: str) -> str:
    """The tag of the coded body: other bytes, so another strong tag (`"7-gzip"`); a weak one stays."""
    return etag if etag.startswith("W/") or not etag.endswith('"') else f'{etag[:-1]}-{coding}"'


def plain_etag(text: str) -> str:
    """If-Match's or If-None-Match's text with each tag as the service gave it, before a body was coded:
    `"7-gzip", "8"` -> `"7", "8"`."""
    return _CODED_ETAG.sub('"', text) if "-" in text else text
