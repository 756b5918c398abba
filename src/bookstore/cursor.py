"""Cursors: where a page ended, as a text that clients hand back and do not read."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Final

START: Final = 0
"""Before the first id."""

_FORM: Final = struct.Struct(">Bq")
_VERSION: Final = 1


def encode(last_id: int) -> str:
    """The cursor of a page whose last book is `last_id`."""
    return base64.urlsafe_b64encode(_FORM.pack(_VERSION, last_id)).decode()


def decode(text: str) -> int:
    """The id that `encode` was given. Raises ValueError for any text that `encode` does not make."""
    try:
        version, last_id = _FORM.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
    except (binascii.Error, struct.error) as error:
        raise ValueError(str(error)) from None
    # b64decode also takes text behind the padding, and + and / beside - and _.
    if version != _VERSION or last_id < START or encode(last_id) != text:
        raise ValueError("not a cursor of this service")
    return int(last_id)
