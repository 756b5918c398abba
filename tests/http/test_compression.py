from __future__ import annotations

import sys
import zlib

import brotli
import pytest

from bookstore.http.compression import CODINGS, STREAMS, Choice, choose, coded_etag, decode, is_compressible, plain_etag

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
    """A compressed body is smaller, decompresses to the original, and is deterministic."""
    packed = CODINGS[coding](BODY)
    assert len(packed) < len(BODY) / 2
    assert UNPACKED[coding](packed) == decode(packed, coding) == BODY
    assert CODINGS[coding](BODY) == packed


@pytest.mark.parametrize("coding", CODINGS)
def test_streams(coding: str) -> None:
    """Parts, some empty, make one document that decompresses to the whole."""
    stream = STREAMS[coding]()
    parts = [BODY[start : start + 700] for start in range(0, len(BODY), 700)]
    packed = b"".join([*(stream.feed(part) for part in [b"", *parts]), stream.finish()])
    assert len(packed) < len(BODY) / 2
    assert UNPACKED[coding](packed) == BODY


def test_nothing_to_decode() -> None:
    """An uncompressed body, an empty body and a body in an unknown coding stay unchanged."""
    for coding in (None, "identity", "compress"):
        assert decode(BODY, coding) == BODY
    assert decode(b"", "gzip") == b""


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
    """The coding with the highest weight is chosen, the preferred one among equals, and never an unacceptable one."""
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
    """If a client refuses uncompressed bodies, short ones are compressed too; without a common coding, none is."""
    assert choose(accepted) == choice


@pytest.mark.parametrize(
    ("content_type", "expected"),
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
def test_types(content_type: bytes, expected: bool) -> None:
    """Any kind of text is compressed; formats that are already compressed are not."""
    assert is_compressible(content_type) is expected


@pytest.mark.parametrize("coding", CODINGS)
def test_etag_round_trip(coding: str) -> None:
    """A compressed body has its own strong tag, which maps back to the plain tag; a weak tag stays unchanged."""
    assert coded_etag('"7"', coding) == f'"7-{coding}"'
    assert plain_etag(f'"7-{coding}"') == '"7"'
    assert plain_etag(f'W/"6", "7-{coding}" , "8"') == 'W/"6", "7" , "8"'
    assert coded_etag('W/"7"', coding) == 'W/"7"'


def test_other_etags() -> None:
    """Text that only resembles a coded tag stays unchanged."""
    for text in ("*", '"7"', '"7-lzma"', '"gzip"', '"7-gzip-8"', "", "7-gzip", '"-"'):
        assert plain_etag(text) == text
