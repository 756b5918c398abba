"""A genre's name -> its name in a URL. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection
from itertools import chain, count
from typing import Final

MAX_LENGTH: Final = 80
"""Characters; leaves room below the column's 100 for a number at the end."""

_APOSTROPHES: Final = re.compile("['\u2019]")
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")


def slug(name: str) -> str:
    """`childrens` for Children's, `poesie` for Poésie; a name without Latin letters gets a digest. A slug is
    never a number: a number in its place is an id."""
    latin = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    plain = _SEPARATORS.sub("-", _APOSTROPHES.sub("", latin)).strip("-")[:MAX_LENGTH].strip("-")
    if plain.isdigit():
        return f"genre-{plain}"
    return plain or "genre-" + hashlib.sha256(name.encode()).hexdigest()[:8]


def unused_slug(name: str, taken: Collection[str]) -> str:
    """The slug of `name`, with the first number from 2 that is not taken where it is: c, c-2, c-3."""
    base = slug(name)
    return next(s for s in chain((base,), (f"{base}-{n}" for n in count(2))) if s not in taken)
