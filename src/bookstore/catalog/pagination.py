"""Cursors: where a page ended, as a text that clients hand back and do not read.

A cursor holds the last row's values of what the list is ordered by, and a digest over them and over what
was asked for. One that was changed, or that belongs to other filters or another order, is no cursor. The
digest is no secret: who computes one gets a page of public data that starts elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

_DIGEST_BYTES: Final = 9
_FORM: Final = b"cursor 2"


def encode(place: Sequence[Any], asked: str) -> str:
    """The cursor of a page of `asked` (filters and order, as a text) whose last row is at `place`."""
    values = msgspec.json.encode(place)
    return base64.urlsafe_b64encode(_digest(values, asked) + values).decode().rstrip("=")


def decode(text: str, asked: str) -> list[Any]:
    """The place that `encode` was given, its times as texts.

    Raises ValueError for any text that `encode` did not make for the same `asked`.
    """
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        values = whole[_DIGEST_BYTES:]
        place = msgspec.json.decode(values, type=list[Any])
    except (binascii.Error, UnicodeError, msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if _digest(values, asked) != whole[:_DIGEST_BYTES] or encode(place, asked) != text:
        raise ValueError("not a cursor of this list")
    return place


def _digest(values: bytes, asked: str) -> bytes:
    return hashlib.blake2s(values + asked.encode(), digest_size=_DIGEST_BYTES, person=_FORM).digest()
