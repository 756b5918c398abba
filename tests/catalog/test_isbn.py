"""ISBNs: validation and conversion to ISBN-13."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookstore.catalog.isbn import check_digit10, check_digit13, is_isbn10, is_isbn13, to_isbn13

NINE = st.text("0123456789", min_size=9, max_size=9)


@given(nine=NINE, place=st.integers(0, 12), digit=st.sampled_from("0123456789"))
def test_one_wrong_digit_is_detected(nine: str, place: int, digit: str) -> None:
    """An ISBN-13 with its check digit is valid; with any single digit changed it is not."""
    isbn = (twelve := "979" + nine) + check_digit13(twelve)
    changed = isbn[:place] + digit + isbn[place + 1 :]
    assert is_isbn13(isbn)
    assert is_isbn13(changed) == (changed == isbn)


@given(nine=NINE)
def test_ten_becomes_thirteen(nine: str) -> None:
    """A valid ISBN-10 becomes a valid ISBN-13 with the same nine digits."""
    isbn10 = nine + check_digit10(nine)
    isbn13 = to_isbn13(isbn10)
    assert is_isbn10(isbn10)
    assert isbn13 is not None
    assert is_isbn13(isbn13)
    assert isbn13[3:12] == nine


@pytest.mark.parametrize(
    ("written", "isbn13"),
    [
        ("0-439-02348-3", "9780439023481"),
        ("978 0 439 02348 1", "9780439023481"),
        ("978\u20110439023481", "9780439023481"),
        ("439023483", "9780439023481"),
        ("7123456", None),
        ("080442957X", "9780804429573"),
        ("80442957x", "9780804429573"),
    ],
)
def test_written_forms(written: str, isbn13: str | None) -> None:
    """Hyphens, spaces, a lower-case x and lost leading zeros are accepted; a wrong check digit is not."""
    assert to_isbn13(written) == isbn13


def test_lost_zeros_stay_lost_on_request() -> None:
    """Without restore_zeros, a nine-digit number is not an ISBN even if its check digit matches."""
    assert to_isbn13("439023483", restore_zeros=False) is None


@pytest.mark.parametrize(
    "text",
    ["", "978", "9.78043902348e+12", "٩٧٨٠٤٣٩٠٢٣٤٨١", "9780439023480", "9770439023484", "43902348X3", "²" * 13],
)
def test_invalid_isbns(text: str) -> None:
    """Damaged numbers, non-ASCII digits, wrong check digits and other prefixes give None."""
    assert to_isbn13(text) is None
