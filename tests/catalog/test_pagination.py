"""Cursors: decode accepts exactly what encode returned for the same list."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bookstore.catalog import pagination
from bookstore.exceptions import ApiError

LIST_KEY = "the books of 1984, by title"
KEY = bytes(range(32))
IDS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
VALUES = st.lists(IDS | st.text() | st.booleans(), max_size=5)
CURSOR = pagination.encode(["a title", 20], LIST_KEY, KEY)

FOREIGN = {
    "empty": "",
    "text": "abc",
    "blank": " ",
    "number": "20",
    "of the version before": base64.urlsafe_b64encode(struct.pack(">Bq", 1, 20)).decode(),
    "no digest": base64.urlsafe_b64encode(b'["a title",20]').decode().rstrip("="),
    "digest of zeros": base64.urlsafe_b64encode(bytes(9) + b'["a title",20]').decode().rstrip("="),
    "a letter less": CURSOR[:-1],
    "a letter more": CURSOR + "A",
    "padded": CURSOR + "=" * (-len(CURSOR) % 4 or 4),
    "line end": CURSOR + "\n",
    "twice": CURSOR * 2,
    "not ASCII": "\N{FULLWIDTH DIGIT ONE}" * 12,
    "surrogate": "\ud800" * 12,
    "NUL": "\0",
    "long": "A" * 100_000,
    "deep": base64.urlsafe_b64encode(b"[" * 100_000).decode(),
}


@given(VALUES, st.text())
@example([2**63 - 1], "")
def test_cursor_comes_back(values: list[Any], list_key: str) -> None:
    """decode returns what encode received, for all values."""
    assert pagination.decode(pagination.encode(values, list_key, KEY), list_key, KEY) == values


@given(VALUES)
def test_cursor_needs_no_escaping(values: list[Any]) -> None:
    """A cursor contains only characters that need no escaping in a query string."""
    assert all(
        letter.isascii() and (letter.isalnum() or letter in "-_") for letter in pagination.encode(values, LIST_KEY, KEY)
    )


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_other_texts_are_refused(text: str) -> None:
    """A text that encode did not return raises ApiError and no other exception."""
    with pytest.raises(ApiError, match=r"^cursor: "):
        pagination.decode(text, LIST_KEY, KEY)


@given(VALUES, st.text(), st.text())
def test_a_cursor_belongs_to_one_list(values: list[Any], list_key: str, other: str) -> None:
    """A cursor of one list is invalid for another."""
    if list_key == other:
        return
    with pytest.raises(ApiError, match="not a cursor of this list"):
        pagination.decode(pagination.encode(values, list_key, KEY), other, KEY)


@pytest.mark.parametrize("position", range(len(CURSOR)))
def test_no_letter_can_be_changed(position: int) -> None:
    """Replacing any character of a cursor by any other makes it invalid."""
    letters = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= ") - {CURSOR[position]}
    for letter in letters:
        with pytest.raises(ApiError, match=r"^cursor: "):
            pagination.decode(CURSOR[:position] + letter + CURSOR[position + 1 :], LIST_KEY, KEY)


def test_a_cursor_belongs_to_one_key() -> None:
    """A cursor that another key signed is invalid: without the key, nobody can make one."""
    with pytest.raises(ApiError, match="not a cursor of this list"):
        pagination.decode(CURSOR, LIST_KEY, bytes(32))


@given(st.text() | st.text("ABCDEFwxyz0189-_=+/", min_size=11, max_size=24))
@example("AQAAAAAAAAAB")
@example("AQAAAAAAA+/B")
def test_cursors_are_unambiguous(text: str) -> None:
    """Any text either raises ApiError or equals the encoding of its values: no two cursors have the same values."""
    try:
        values = pagination.decode(text, LIST_KEY, KEY)
    except ApiError:
        return
    assert pagination.encode(values, LIST_KEY, KEY) == text
