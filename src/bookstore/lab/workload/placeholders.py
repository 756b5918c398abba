"""Placeholders in braces: found and checked, so that a misspelt one is not sent as text."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from bookstore.config import validation

OF_REQUESTS: Final = ("id", "number", "uuid")
"""The placeholders of a request's path and body."""

_PLACEHOLDER: Final = re.compile(r"(?<![{$])\{([A-Za-z_][A-Za-z0-9_.-]*)\}")
_EXAMPLES: Final = {"id": "1", "number": "1", "uuid": "00000000-0000-4000-8000-000000000000"}


def unknown(text: str, known: Collection[str]) -> tuple[str, str] | None:
    """Return what was found and what is allowed, for the first placeholder in `text` that is not `known`.

    A placeholder is one word in single braces: `{id}`. JSON has none, and neither `${HOME}` nor `{{id}}` is one.
    """
    for name in _PLACEHOLDER.findall(text):
        if name not in known:
            braced = [f"{{{word}}}" for word in known]
            allowed = validation.suggestion(f"{{{name}}}", braced) if known else "a text without placeholders"
            return f"the unknown placeholder {{{name}}}", allowed
    return None


def fill_for_probe(path: str) -> str:
    """Return `path` with the first book's id, and examples in place of the other placeholders."""
    for name, example in _EXAMPLES.items():
        path = path.replace(f"{{{name}}}", example)
    return path
