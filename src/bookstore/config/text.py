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


_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Mc", "Me", "Mn", "Zl", "Zp", "Zs"})
"""General categories of Unicode: controls, format characters, combining marks, spaces."""
_BLANK: Final = re.compile("[\u115f\u1160\u2065\u2800\u3164\uffa0\ufff0-\ufff8\ufffe\uffff\U000e0000-\U000e0fff]")
"""Characters of other categories without a glyph: Hangul fillers, the empty Braille pattern, and code points that are
reserved for invisible characters (Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt)."""


def is_visible(text: str) -> bool:
    """Return whether `text` has a visible character. A combining mark alone is not: it needs a base character."""
    return any(unicodedata.category(character) not in _INVISIBLE and not _BLANK.match(character) for character in text)


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
