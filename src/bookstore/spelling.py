"""How a text is kept, however it was written."""

from __future__ import annotations

import unicodedata


def normal(text: str) -> str:
    """`text` in Unicode's composed form, every run of white space one space, none at the ends."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())
