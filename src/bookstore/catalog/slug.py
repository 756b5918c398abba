"""Slugs: names of genres in URLs. Pure functions."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection
from itertools import chain, count
from typing import Final

MAX_LENGTH: Final = 80
"""Characters. Leaves room for a number at the end; the column holds 100."""

_APOSTROPHES: Final = re.compile("['\u2019]")
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")


def slug(name: str) -> str:
    """Return `childrens` for Children's, `poesie` for Poésie; a digest for a name without Latin letters.

    A slug is never a number, because URLs accept an id in its place.
    """
    latin = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    plain = _SEPARATORS.sub("-", _APOSTROPHES.sub("", latin)).strip("-")[:MAX_LENGTH].strip("-")
    if plain.isdigit():
        return f"genre-{plain}"
    return plain or "genre-" + hashlib.sha256(name.encode()).hexdigest()[:8]


def unused_slug(name: str, taken: Collection[str]) -> str:
    """Return the slug of `name`; if it is taken, with the lowest free number from 2 on: c, c-2, c-3."""
    base = slug(name)
    return next(candidate for candidate in chain((base,), (f"{base}-{n}" for n in count(2))) if candidate not in taken)
