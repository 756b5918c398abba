"""Cursors: what encode makes comes back, nothing else does."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bookstore import cursor

IDS = st.integers(min_value=cursor.START, max_value=2**63 - 1)

FOREIGN = {
    "empty": "",
    "text": "abc",
    "blank": " ",
    "number": "20",
    "other version": base64.urlsafe_b64encode(struct.pack(">Bq", 2, 20)).decode(),
    "version 0": base64.urlsafe_b64encode(struct.pack(">Bq", 0, 20)).decode(),
    "negative id": base64.urlsafe_b64encode(struct.pack(">Bq", 1, -1)).decode(),
    "a byte less": base64.urlsafe_b64encode(struct.pack(">Bq", 1, 20)[:-1]).decode(),
    "a byte more": base64.urlsafe_b64encode(struct.pack(">Bq", 1, 20) + b"\0").decode(),
    "other alphabet": base64.b64encode(struct.pack(">Bq", 1, 2**63 - 1)).decode(),
    "padded": cursor.encode(20) + "=",
    "line end": cursor.encode(20) + "\n",
    "twice": cursor.encode(20) * 2,
    "not ASCII": "\N{FULLWIDTH DIGIT ONE}" * 12,
    "surrogate": "\ud800" * 12,
    "NUL": "\0",
    "long": "A" * 100_000,
}


@given(IDS)
@example(cursor.START)
@example(2**63 - 1)
def test_cursor_comes_back(last_id: int) -> None:
    """decode gives what encode was given, for every id there can be."""
    assert cursor.decode(cursor.encode(last_id)) == last_id


@given(IDS)
def test_cursor_needs_no_escaping(last_id: int) -> None:
    """A cursor holds only what stands in a URL's query as it is."""
    assert all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in cursor.encode(last_id))


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_other_texts_are_refused(text: str) -> None:
    """A text that encode did not make raises ValueError and nothing else."""
    with pytest.raises(ValueError, match=r"."):
        cursor.decode(text)


@given(st.text() | st.text("ABCDEFwxyz0189-_=+/", min_size=11, max_size=13))
@example("AQAAAAAAAAAB")
@example("AQAAAAAAA+/B")
def test_a_text_is_its_ids_cursor_or_refused(text: str) -> None:
    """Any text either raises ValueError or is exactly what encode makes of its id: no two cursors are one."""
    try:
        last_id = cursor.decode(text)
    except ValueError:
        return
    assert cursor.encode(last_id) == text
