"""Cursors: what encode makes comes back for the same list, nothing else does."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bookstore.catalog import pagination
from bookstore.exceptions import ApiError

ASKED = "the books of 1984, by title"
IDS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
PLACES = st.lists(IDS | st.text() | st.booleans(), max_size=5)
MADE = pagination.encode(["a title", 20], ASKED)

FOREIGN = {
    "empty": "",
    "text": "abc",
    "blank": " ",
    "number": "20",
    "of the version before": base64.urlsafe_b64encode(struct.pack(">Bq", 1, 20)).decode(),
    "no digest": base64.urlsafe_b64encode(b'["a title",20]').decode().rstrip("="),
    "digest of zeros": base64.urlsafe_b64encode(bytes(9) + b'["a title",20]').decode().rstrip("="),
    "a letter less": MADE[:-1],
    "a letter more": MADE + "A",
    "padded": MADE + "=" * (-len(MADE) % 4 or 4),
    "line end": MADE + "\n",
    "twice": MADE * 2,
    "not ASCII": "\N{FULLWIDTH DIGIT ONE}" * 12,
    "surrogate": "\ud800" * 12,
    "NUL": "\0",
    "long": "A" * 100_000,
    "deep": base64.urlsafe_b64encode(b"[" * 100_000).decode(),
}


@given(PLACES, st.text())
@example([2**63 - 1], "")
def test_cursor_comes_back(place: list[Any], asked: str) -> None:
    """decode gives what encode was given, for every place there can be."""
    assert pagination.decode(pagination.encode(place, asked), asked) == place


@given(PLACES)
def test_cursor_needs_no_escaping(place: list[Any]) -> None:
    """A cursor holds only what stands in a URL's query as it is."""
    assert all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in pagination.encode(place, ASKED))


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_other_texts_are_refused(text: str) -> None:
    """A text that encode did not make raises ApiError and nothing else."""
    with pytest.raises(ApiError, match=r"^cursor: "):
        pagination.decode(text, ASKED)


@given(PLACES, st.text(), st.text())
def test_it_belongs_to_one_list(place: list[Any], asked: str, other: str) -> None:
    """A cursor of one list is none of another."""
    if asked == other:
        return
    with pytest.raises(ApiError, match="not a cursor of this list"):
        pagination.decode(pagination.encode(place, asked), other)


@pytest.mark.parametrize("position", range(len(MADE)))
def test_no_letter_can_be_changed(position: int) -> None:
    """Whatever letter stands in the place of one of a cursor's, it is no cursor any more."""
    letters = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= ") - {MADE[position]}
    for letter in letters:
        with pytest.raises(ApiError, match=r"^cursor: "):
            pagination.decode(MADE[:position] + letter + MADE[position + 1 :], ASKED)


@given(st.text() | st.text("ABCDEFwxyz0189-_=+/", min_size=11, max_size=24))
@example("AQAAAAAAAAAB")
@example("AQAAAAAAA+/B")
def test_a_text_is_its_places_cursor_or_refused(text: str) -> None:
    """Any text either raises ApiError or is exactly what encode makes of its place: no two cursors are one."""
    try:
        place = pagination.decode(text, ASKED)
    except ApiError:
        return
    assert pagination.encode(place, ASKED) == text
