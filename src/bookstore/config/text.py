"""Text in canonical form, and text shortened for messages."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Final

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Control characters. No stored text has one: they steer terminals and split lines, and PostgreSQL cannot store NUL."""


def normalise(text: str) -> str:
    """Return `text` in NFC, with every run of white space as one space and none at the ends."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())


LONGEST_EXCERPT: Final = 60  # characters


def excerpt(text: str, longest: int = LONGEST_EXCERPT) -> str:
    """Return `text` for a message: at most `longest` characters, on one line, without control characters."""
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return short if short.isprintable() else ascii(short)[1:-1]


def undecodable(path: str) -> str:
    """Return `path` with `\\xff` for each byte that could not be decoded; empty if there is none.

    Python opens such a path, but can neither print it nor store it in a record.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode(errors="backslashreplace")
    return ""
