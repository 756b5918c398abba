"""International Standard Book Numbers: are they valid, and which ISBN-13 does a written number mean? Pure.

ISO 2108. An ISBN-13 ends in a digit that makes the sum of its digits, weighted 1, 3, 1, 3 …, a multiple
of 10; an ISBN-10 in one (X is ten) that makes the sum weighted 10, 9, … 1 a multiple of 11.
"""

from __future__ import annotations

from operator import mul
from typing import Final

_PREFIXES: Final = ("978", "979")
_WEIGHTS10: Final = tuple(range(10, 1, -1))
_MAX_LOST_ZEROS: Final = 3
"""0-00-7…, HarperCollins, has three; a shorter number fits by chance more often than by right."""

_ZERO: Final = ord("0")
# People type the hyphen, printers set its typographic relatives, spreadsheets add no-break spaces.
_SEPARATORS: Final = dict.fromkeys(map(ord, "-\u2010\u2011\u2012\u2013 \u00a0"))


def is_isbn13(text: str) -> bool:
    """Whether `text` is thirteen digits, 978 or 979 first, with the right check digit; no separators."""
    if len(text) != 13 or not text.startswith(_PREFIXES) or not _plain_digits(text):
        return False
    return _weighted_sum13(text) % 10 == 0


def is_isbn10(text: str) -> bool:
    """Whether `text` is nine digits and the right check digit or X; no separators."""
    if len(text) != 10 or not _plain_digits(text[:9]):
        return False
    return text[9].upper() == check_digit10(text[:9])


def check_digit10(nine: str) -> str:
    """The tenth character for the nine digits of an ISBN-10: 0 to 9 or X."""
    total = sum(map(mul, _WEIGHTS10, nine.encode())) - _ZERO * sum(_WEIGHTS10)
    return "0123456789X"[-total % 11]


def check_digit13(twelve: str) -> str:
    """The thirteenth digit for the first twelve of an ISBN-13."""
    return str(-_weighted_sum13(twelve + "0") % 10)


def to_isbn13(text: str, *, restore_zeros: bool = True) -> str | None:
    """The ISBN-13 that `text`, an ISBN-10 or ISBN-13 with or without hyphens and spaces, stands for.

    With `restore_zeros` a number of 7 to 9 characters is read as an ISBN-10 that lost its leading zeros,
    if its check digit then fits. None where it is no valid ISBN.
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
    # str.isdigit alone accepts Arabic-Indic digits and superscripts.
    return text.isascii() and text.isdigit()


def _weighted_sum13(text: str) -> int:
    # "0" is 48; thirteen of them weigh 48 * 25 = 1200, which is no news modulo 10.
    digits = text.encode()
    return sum(digits[::2]) + 3 * sum(digits[1::2])
