"""ISBN validation and conversion to ISBN-13 (ISO 2108). Pure functions.

The check digit of an ISBN-13 makes the sum of the digits, weighted 1, 3, 1, 3 …, a multiple of 10. The check digit
of an ISBN-10 (X is ten) makes the sum of the digits, weighted 10, 9, … 1, a multiple of 11.
"""

from __future__ import annotations

from operator import mul
from typing import Final

_PREFIXES: Final = ("978", "979")
_WEIGHTS10: Final = tuple(range(10, 1, -1))
_MAX_LOST_ZEROS: Final = 3
"""ISBNs of HarperCollins (0-00-7…) begin with three zeros; shorter numbers match mostly by chance."""

_ZERO: Final = ord("0")
# Hyphens as typed, typographic hyphens and dashes as printed, no-break spaces from spreadsheets.
_SEPARATORS: Final = dict.fromkeys(map(ord, "-\u2010\u2011\u2012\u2013 \u00a0"))


def is_isbn13(text: str) -> bool:
    """Return whether `text` is 13 digits without separators, begins with 978 or 979, and has a correct check digit."""
    if len(text) != 13 or not text.startswith(_PREFIXES) or not _plain_digits(text):
        return False
    return _weighted_sum13(text) % 10 == 0


def is_isbn10(text: str) -> bool:
    """Return whether `text` is nine digits and a correct check digit (0 to 9 or X), without separators."""
    if len(text) != 10 or not _plain_digits(text[:9]):
        return False
    return text[9].upper() == check_digit10(text[:9])


def check_digit10(nine: str) -> str:
    """Return the check digit, 0 to 9 or X, for the first nine digits of an ISBN-10."""
    total = sum(map(mul, _WEIGHTS10, nine.encode())) - _ZERO * sum(_WEIGHTS10)
    return "0123456789X"[-total % 11]


def check_digit13(twelve: str) -> str:
    """Return the check digit for the first twelve digits of an ISBN-13."""
    return str(-_weighted_sum13(twelve + "0") % 10)


def to_isbn13(text: str, *, restore_zeros: bool = True) -> str | None:
    """Convert `text`, an ISBN-10 or ISBN-13 with or without hyphens and spaces, to ISBN-13; None if it is not valid.

    With `restore_zeros`, 7 to 9 characters are read as an ISBN-10 that lost its leading zeros, provided that the
    check digit matches.
    """
    number = text.translate(_SEPARATORS) if not text.isdigit() else text
    if len(number) == 13:
        return number if is_isbn13(number) else None
    if restore_zeros and 10 - _MAX_LOST_ZEROS <= len(number) < 10:
        number = number.rjust(10, "0")
    if not is_isbn10(number):
        return None
    return "978" + number[:9] + check_digit13("978" + number[:9])


def _plain_digits(text: str) -> bool:
    # str.isdigit alone also accepts Arabic-Indic digits and superscripts.
    return text.isascii() and text.isdigit()


def _weighted_sum13(text: str) -> int:
    # The bytes are digits plus 48. The weights sum to 25, so this adds 48 * 25 = 1200, which is 0 modulo 10.
    digits = text.encode()
    return sum(digits[::2]) + 3 * sum(digits[1::2])
