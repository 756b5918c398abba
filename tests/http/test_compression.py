from __future__ import annotations

import sys
import zlib

import brotli
import pytest

from bookstore.http.compression import CODINGS, Choice, choose, coded_etag, decoded, is_compressible, plain_etag

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY = b'{"title":"The Hunger Games"},' * 200

UNPACKED = {
    "gzip": lambda body: zlib.decompress(body, wbits=31),
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}


@pytest.mark.parametrize("coding", CODINGS)
def test_codings(coding: str) -> None:
    """What is packed is smaller, comes out as it was, and is the same each time."""
    packed = CODINGS[coding](BODY)
    assert len(packed) < len(BODY) / 2
    assert UNPACKED[coding](packed) == decoded(packed, coding) == BODY
    assert CODINGS[coding](BODY) == packed


def test_nothing_to_decode() -> None:
    """A body as it is, an empty one and one in a coding of others stay."""
    for coding in (None, "identity", "compress"):
        assert decoded(BODY, coding) == BODY
    assert decoded(b"", "gzip") == b""


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (b"gzip", "gzip"),
        (b"x-gzip", "gzip"),
        (b"GZIP", "gzip"),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"gzip, deflate, br", "br"),
        (b"gzip, deflate", "gzip"),
        (b"gzip;q=1.0, br;q=0.5", "gzip"),
        (b"br ; q=0.5 , gzip ; q=0.501", "gzip"),
        (b"gzip;Q=0.3", "gzip"),
        (b"*", "zstd"),
        (b"*;q=0.1, zstd;q=0", "br"),
        (b"zstd;q=0, *", "br"),
        (b"gzip;q=0", None),
        (b"gzip;q=0.000", None),
        (b"gzip;q=0, *;q=0", None),
        (b"identity", None),
        (b"identity, gzip;q=0.5", None),
        (b"identity;q=0.5, gzip;q=0.5", "gzip"),
        (b"deflate", None),
        (b"", None),
        (b"gzipped, brotli, notgzip", None),
        (b"gzip;q=2", None),
        (b"gzip;q=abc", None),
        (b"gzip;level=1", None),
        (b"gzip" + b" " * 300, None),
        (b"\xff\xfe, gzip", "gzip"),
        (b",,gzip,,", "gzip"),
    ],
)
def test_negotiation(accepted: bytes, coding: str | None) -> None:
    """The coding with the greatest weight, the better one of equals, and none that is not acceptable."""
    assert choose(accepted) == Choice(coding)


@pytest.mark.parametrize(
    ("accepted", "choice"),
    [
        (b"identity;q=0, gzip", Choice("gzip", always=True)),
        (b"gzip;q=0.5, *;q=0", Choice("gzip", always=True)),
        (b"identity;q=0.1, gzip, *;q=0", Choice("gzip")),
        (b"identity;q=0", Choice(None)),
        (b"*;q=0", Choice(None)),
    ],
)
def test_no_identity(accepted: bytes, choice: Choice) -> None:
    """A client that refuses a body as it is gets short ones coded too, and the body as it is where nothing
    else is left."""
    assert choose(accepted) == choice


@pytest.mark.parametrize(
    ("content_type", "yes"),
    [
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"application/vnd.oai.openapi+json; charset=utf-8", True),
        (b"text/html; charset=utf-8", True),
        (b"Text/CSV", True),
        (b"image/svg+xml", True),
        (b"application/javascript", True),
        (b"image/png", False),
        (b"application/octet-stream", False),
        (b"application/gzip", False),
        (b"application/jsonish", False),
        (b"", False),
    ],
)
def test_types(content_type: bytes, yes: bool) -> None:
    """Text of any kind is compressed, what is packed already is not."""
    assert is_compressible(content_type) is yes


@pytest.mark.parametrize("coding", CODINGS)
def test_etags_go_both_ways(coding: str) -> None:
    """A coded body's strong tag is another one, whose plain tag comes back; a weak one stays."""
    assert coded_etag('"7"', coding) == f'"7-{coding}"'
    assert plain_etag(f'"7-{coding}"') == '"7"'
    assert plain_etag(f'W/"6", "7-{coding}" , "8"') == 'W/"6", "7" , "8"'
    assert coded_etag('W/"7"', coding) == 'W/"7"'


def test_other_etags_stay() -> None:
    """What only looks alike is left."""
    for text in ("*", '"7"', '"7-lzma"', '"gzip"', '"7-gzip-8"', "", "7-gzip", '"-"'):
        assert plain_etag(text) == text
