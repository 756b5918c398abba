"""Cleaning of raw rows: corrections and refusals."""

from __future__ import annotations

import pytest

from bookstore.catalog.datasets.entry import Entry, Finding, Outcome
from bookstore.catalog.datasets.parsing.cleaning import clean
from bookstore.catalog.datasets.parsing.csv_reader import BadRow, RawRow


def clean_cells(**cells: str) -> tuple[Entry | None, list[Finding]]:
    blank = dict.fromkeys(RawRow._fields[1:], "") | {"title": "Emma", "authors": "Jane Austen"}
    findings: list[Finding] = []
    return clean(RawRow(7, **(blank | cells)), findings), findings


def reasons(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.column, finding.reason) for finding in findings]


def test_clean_row_passes() -> None:
    """A valid row becomes a book unchanged, without findings."""
    entry, findings = clean_cells(isbn13="9780439023481", publication_year="1815", language="en-GB", genres="A; B")
    assert entry == Entry(7, "Emma", "9780439023481", 1815, "en-GB", ("Jane Austen",), ("A", "B"))
    assert findings == []


@pytest.mark.parametrize(
    ("isbn", "isbn13", "stored", "reason"),
    [
        ("0439023483", "9.78043902348e+12", "9780439023481", "damaged by a spreadsheet, computed from isbn"),
        ("", "9.78043902348e+12", None, "damaged by a spreadsheet, dropped"),
        ("", "9.78067172365e12", None, "damaged by a spreadsheet, dropped"),
        ("", "9780439023482", None, "not a valid ISBN-13, dropped"),
        ("0439023484", "", None, "not a valid ISBN, dropped"),
        ("439023483", "", "9780439023481", "leading zeros restored"),
        ("9.78043902348e+12", "", None, "damaged by a spreadsheet, dropped"),
        ("", "9,78044E+12", None, "damaged by a spreadsheet, dropped"),
        ("0441172717", "9780439023481", "9780439023481", "not the same book as isbn13, dropped"),
    ],
)
def test_isbn(isbn: str, isbn13: str, stored: str | None, reason: str) -> None:
    """An intact ISBN-13 is used, else the one computed from the ISBN-10, else none; every change is a finding."""
    entry, findings = clean_cells(isbn=isbn, isbn13=isbn13)
    assert entry is not None
    assert entry.isbn13 == stored
    assert [finding.reason for finding in findings] == [reason]


def test_goodreads_quoting_is_no_damage() -> None:
    """An ISBN quoted for spreadsheets, ="0439023483", is read without a finding."""
    entry, findings = clean_cells(isbn='="0439023483"')
    assert entry is not None
    assert (entry.isbn13, findings) == ("9780439023481", [])


@pytest.mark.parametrize(
    ("written", "year", "mended"),
    [
        ("2008.0", 2008, False),
        ("-1750.0", -1750, False),
        ("", None, False),
        ("-3000", -3000, False),
        ("-3001", None, True),
        ("9999", 9999, False),
        ("10000", None, True),
        ("1999.5", None, True),
        ("about 1850", None, True),
        ("1999-2001", None, True),
        ("9" * 5000, None, True),
    ],
)
def test_year(written: str, year: int | None, mended: bool) -> None:
    """Integer years from -3000 to 9999, also as floats, are kept; anything else is dropped with a finding."""
    entry, findings = clean_cells(publication_year=written)
    assert entry is not None
    assert entry.publication_year == year
    assert bool(findings) == mended


@pytest.mark.parametrize(
    ("written", "language"),
    [
        ("eng", "en"), ("en-US", "en-US"), ("EN_us", "en-US"), ("ger", "de"), ("deu", "de"), ("fil", "fil"),
        ("mul", "mul"), ("nl", "nl"), ("", None), ("English", None), ("und", None), ("zh-Hant", None),
    ],
)  # fmt: skip
def test_language(written: str, language: str | None) -> None:
    """Languages get their shortest code; texts that are not a code are dropped."""
    entry, findings = clean_cells(language=written)
    assert entry is not None
    assert entry.language == language
    assert bool(findings) == (written != (language or ""))


def test_texts_are_normalised() -> None:
    """Titles and names are in NFC, without leading, repeated or unusual white space."""
    entry, findings = clean_cells(title="  Cafe\u0301 \t\x1fNoir ", authors="Zoe\u0308  K,\nBo")
    assert entry is not None
    assert entry.title == "Café Noir"
    assert entry.authors == ("Zoë K", "Bo")
    assert reasons(findings) == [("title", "spaces or accents normalised")]


def test_repeated_author_is_dropped() -> None:
    """A name that occurs twice in a row is kept once, at its first position."""
    entry, findings = clean_cells(authors="Ann, Bo, Ann, ")
    assert entry is not None
    assert entry.authors == ("Ann", "Bo")
    assert reasons(findings) == [("authors", "repeated within the row, dropped")]


def test_escaped_separators_stay_in_the_name() -> None:
    r"""`\,` in authors and `\;` in genres are part of the name, `\\` is a backslash, a single one is literal."""
    entry, _ = clean_cells(authors=r"Davis\, Sammy, A\\B, C\D", genres=r"This\; that; Other")
    assert entry is not None
    assert entry.authors == ("Davis, Sammy", "A\\B", "C\\D")
    assert entry.genres == ("This; that", "Other")


def test_empty_title_falls_back() -> None:
    """An empty title is replaced by original_title with a finding; without both the row is refused."""
    entry, findings = clean_cells(title=" ", original_title="Эмма")
    assert entry is not None
    assert entry.title == "Эмма"
    assert reasons(findings) == [("title", "empty, original_title used")]
    entry, findings = clean_cells(title="")
    assert entry is None
    assert findings[0].outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    "cells",
    [
        {"title": "x" * 1001},
        {"authors": "x" * 301},
        {"genres": "x" * 301},
        {"authors": ",".join(map(str, range(1001)))},
    ],
)
def test_too_long_is_refused(cells: dict[str, str]) -> None:
    """A title, name or list that is too long for the tables refuses the row with one short finding."""
    entry, findings = clean_cells(**cells)
    assert entry is None
    assert [finding.outcome for finding in findings] == [Outcome.REFUSED]
    assert len(findings[0].found) <= 100


def test_wrong_number_of_fields_is_refused() -> None:
    """A row with a wrong number of fields is refused, and the finding has both numbers."""
    findings: list[Finding] = []
    assert clean(BadRow(3, 9, 11), findings) is None
    assert findings == [Finding(3, Outcome.REFUSED, "row", "9 fields", "the header has 11")]
