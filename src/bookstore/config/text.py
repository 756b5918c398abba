"""How a text is kept, however it was written."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What no text of ours has: it steers terminals, splits lines, and PostgreSQL keeps no NUL."""


def normal(text: str) -> str:
    """`text` in Unicode's composed form, every run of white space one space, none at the ends."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())
