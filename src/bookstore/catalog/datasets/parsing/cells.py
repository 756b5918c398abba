"""The spellings of ISBNs, years and missing values in cells. Pure functions."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import Final

from bookstore.catalog.models import EARLIEST_YEAR, LATEST_YEAR

_MISSING: Final = frozenset(
    {"", "null", "(null)", "<null>", "nil", "none", "(none)", "nan", "<na>", "#n/a", "n/a", "n.a.", "\\n", "unknown",
     "(unknown)", "undefined", "not available", "nat", "(blank)", "unknown author",
     "-", "--", "---", "\u2013", "\u2014", "?", "[]"}
)  # fmt: skip
"""Lower case. What pandas, R, MySQL, PostgreSQL, Excel and people write for a value that they do not have."""

_SPREADSHEET_TEXT: Final = re.compile(r'="(.*)"|\'(.*)')
"""How exports make a spreadsheet show digits as they are: ="0439023483" (Goodreads) and '0439023483."""


def unwrap(cell: str) -> str:
    """Return `cell` without outer spaces and the marks by which spreadsheets know a text."""
    text = cell.strip()
    if (match := _SPREADSHEET_TEXT.fullmatch(text)) is not None:
        return (match[1] or match[2] or "").strip()
    return text.strip('"') if text[:1] == '"' == text[-1:] else text


@lru_cache(4096)
def is_missing(cell: str) -> bool:
    """Return whether `cell` is one of the usual ways to write "no value".

    NA is one in capitals only: Na is a surname, and na the code of a language.
    """
    text = unwrap(cell)
    return text.lower() in _MISSING or text == "NA"


_NO_TITLE: Final = frozenset({"", "null", "(null)", "<null>", "nan", "<na>", "#n/a", "n/a", "\\n"})
"""The spellings that are no title. There are books named Unknown, None and ?."""


def is_missing_title(cell: str) -> bool:
    """Return whether `cell` is a way to write "no title"."""
    return len(cell) < 8 and unwrap(cell).lower() in _NO_TITLE


_ISBN_PREFIX: Final = re.compile(r"(?:urn:)?isbn(?:[-_ ]?1[03](?=[\s:=#]))?[\s:=#]*", re.IGNORECASE)
_ISBN_NOTE: Final = re.compile(r"\s*\([^()]*\)\.?$")  # 0439023483 (pbk.)
_LONGEST: Final = 100
"""Characters of an ISBN or a date with all that is around it. Longer texts are not searched for one."""

_NUMBER: Final = re.compile(r"\d+(?:[.,]\d*)?(?:[eE]\+?\d+)?")


def isbn_digits(cell: str) -> str:
    """Return the ISBN in `cell` without what tools put around it, or "" if there is none. Does not check it.

    Reads [9780439023481], ="0439023483", '0439023483, ISBN: 978-…, ISBN-13 978…, urn:isbn:…, 9780439023481.0 and
    9.780439023481E+12, in which every digit is left.
    """
    text = cell.strip()
    if not text.isdigit() and _NUMBER.fullmatch(text) is None:
        if is_missing(text):
            return ""
        if len(text) > _LONGEST:
            return text
        text = _ISBN_NOTE.sub("", unwrap(text)).strip("[]{}<>\"' ")
        text = _ISBN_PREFIX.sub("", text, count=1)
    if not text.isdigit() and _NUMBER.fullmatch(text) is not None:
        text = _whole(text.replace(",", "."))
    return text if text.strip("0") else ""  # a row of zeros stands for an unknown number


def _whole(number: str) -> str:
    """Return the digits of 439023483.0 and 9.780439023481E+12; `number` itself if it is not whole or not complete."""
    digits, _, fraction = number.partition(".")
    if not fraction.strip("0"):
        return digits
    sign, value, exponent = Decimal(number).as_tuple()
    return "".join(map(str, value)) if exponent == sign == 0 else number


def is_damaged(number: str) -> bool:
    """Return whether `number` is in scientific notation, 9.78044E+12, so that its last digits are lost."""
    return not number.isdigit() and _NUMBER.fullmatch(number) is not None


_MONTH: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?|spring|summer|autumn|fall|winter)\.?"
)
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th)?\.?"
_SEPARATOR: Final = r"[-/. ]"
_YEAR: Final = re.compile(
    rf"""
    (?P<plain>[+-]?\d{{1,6}})(?:\.0*)?                                   # 1999, -750, 1999.0
    | (?P<month>\d{{4}})[-/]\d{{1,2}}                                    # 1988-06; 1999.5 is no date
    | (?P<iso>\d{{4}}){_SEPARATOR}\d{{1,2}}{_SEPARATOR}\d{{1,2}}(?:[t ][\d:.,+z -]*)?  # 2001-05-03T00:00:00+00:00
    | (?P<compact>\d{{4}})(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])       # 20010503
    | (?:\d{{1,2}}{_SEPARATOR})?\d{{1,2}}{_SEPARATOR}(?P<last>\d{{4}})(?:\ [\d:.]+(?:\ [ap]m)?)?  # 05/03/2001, 6/1988
    | (?:{_DAY}[ -])?{_MONTH}[ -]?(?:{_DAY})?,?[ -]?(?P<named>\d{{4}})     # May 2001, 3 May 2001, May 3rd, 2001
    | (?P<first>\d{{4}}),?[ -]{_MONTH}(?:[ -]{_DAY})?                      # 2001 May 3
    | (?:c|ca|cop|copyright|circa|p|\u00a9)\.?\ ?(?P<circa>\d{{4}})\??   # c1999, ca. 1850
    | (?P<questioned>\d{{4}})[?.]                                        # 1999?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NO_DATE: Final = "0101-01-01"  # Calibre


@lru_cache(4096)
def year_of(cell: str) -> int | None:
    """Return the year in `cell`, a year or a date; None if there is none from EARLIEST_YEAR to LATEST_YEAR.

    Days and months are not checked: their order does not matter for the year.
    """
    text = " ".join(unwrap(cell).strip("[]()").split())
    match = _YEAR.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or text.startswith(_NO_DATE):
        return None
    year = int(next(filter(None, match.groups())))
    return year if EARLIEST_YEAR <= year <= LATEST_YEAR else None


@lru_cache(4096)
def is_missing_year(cell: str) -> bool:
    """Return whether `cell` is missing, or is the year 0 or year of the date that tools write instead."""
    return is_missing(cell) or not unwrap(cell).strip("0.") or unwrap(cell).startswith((_NO_DATE, "0000-"))
