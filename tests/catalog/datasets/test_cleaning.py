"""Raw rows -> clean books: what is mended, what is refused."""

from __future__ import annotations

import pytest

from bookstore.catalog.datasets.cleaning import clean
from bookstore.catalog.datasets.csv_reader import BadRow, RawRow
from bookstore.catalog.datasets.entry import Entry, Finding, Outcome


def cleaned(**cells: str) -> tuple[Entry | None, list[Finding]]:
    blank = dict.fromkeys(RawRow._fields[1:], "") | {"title": "Emma", "authors": "Jane Austen"}
    findings: list[Finding] = []
    return clean(RawRow(7, **(blank | cells)), findings), findings


def reasons(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.column, finding.reason) for finding in findings]


def test_clean_row_passes() -> None:
    """A row without fault becomes a book as written, with nothing found."""
    entry, findings = cleaned(isbn13="9780439023481", publication_year="1815", language="en-GB", genres="A; B")
    assert entry == Entry(7, "Emma", "9780439023481", 1815, "en-GB", ("Jane Austen",), ("A", "B"))
    assert findings == []


@pytest.mark.parametrize(
    ("isbn", "isbn13", "stored", "found"),
    [
        ("0439023483", "9.78043902348e+12", "9780439023481", "damaged by a spreadsheet, computed from isbn"),
        ("", "9.78043902348e+12", None, "damaged by a spreadsheet, dropped"),
        ("", "9.78067172365e12", None, "damaged by a spreadsheet, dropped"),
        ("", "9780439023482", None, "not a valid ISBN-13, dropped"),
        ("0439023484", "", None, "not a valid ISBN, dropped"),
        ("439023483", "", "9780439023481", "leading zeros restored"),
        ("", "978-0-439-02348-1", "9780439023481", "written as 13 digits"),
        ("", "9780439023481.0", "9780439023481", "written as 13 digits"),
        ("0441172717", "9780439023481", "9780439023481", "not the same book as isbn13, dropped"),
    ],
)
def test_isbn(isbn: str, isbn13: str, stored: str | None, found: str) -> None:
    """A whole ISBN-13 wins, else the ISBN-10 gives it, else there is none; the change is always told."""
    entry, findings = cleaned(isbn=isbn, isbn13=isbn13)
    assert entry is not None
    assert entry.isbn13 == stored
    assert [finding.reason for finding in findings] == [found]


def test_goodreads_quoting_is_no_damage() -> None:
    """An ISBN written as ="0439023483", so that spreadsheets leave it alone, is read without a word."""
    entry, findings = cleaned(isbn='="0439023483"')
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
        ("c. 1850", None, True),
        ("9" * 5000, None, True),
    ],
)
def test_year(written: str, year: int | None, mended: bool) -> None:
    """Whole years from -3000 to 9999 are kept, also as floats; anything else is dropped and told."""
    entry, findings = cleaned(publication_year=written)
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
    """Languages get their shortest code; what is no code is dropped."""
    entry, findings = cleaned(language=written)
    assert entry is not None
    assert entry.language == language
    assert bool(findings) == (written != (language or ""))


def test_texts_are_normalised() -> None:
    """Titles and names are composed Unicode without doubled, leading or odd white space."""
    entry, findings = cleaned(title="  Cafe\u0301 \t\x1fNoir ", authors="Zoe\u0308  K,\nBo")
    assert entry is not None
    assert entry.title == "Café Noir"
    assert entry.authors == ("Zoë K", "Bo")
    assert reasons(findings) == [("title", "spaces or accents normalised")]


def test_repeated_author_is_dropped() -> None:
    """A name that stands twice in a row is kept once, at its first place."""
    entry, findings = cleaned(authors="Ann, Bo, Ann, ")
    assert entry is not None
    assert entry.authors == ("Ann", "Bo")
    assert reasons(findings) == [("authors", "repeated within the row, dropped")]


def test_escaped_separators_stay_in_the_name() -> None:
    r"""`\,` in authors and `\;` in genres belong to the name, `\\` is a backslash, a lone one itself."""
    entry, _ = cleaned(authors=r"Davis\, Sammy, A\\B, C\D", genres=r"This\; that; Other")
    assert entry is not None
    assert entry.authors == ("Davis, Sammy", "A\\B", "C\\D")
    assert entry.genres == ("This; that", "Other")


def test_empty_title_falls_back() -> None:
    """Without a title the original one is taken and told; without both the row is refused."""
    entry, findings = cleaned(title=" ", original_title="Эмма")
    assert entry is not None
    assert entry.title == "Эмма"
    assert reasons(findings) == [("title", "empty, original_title used")]
    entry, findings = cleaned(title="")
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
    """A title, a name or a list longer than the tables take refuses the row, once, in a short message."""
    entry, findings = cleaned(**cells)
    assert entry is None
    assert [finding.outcome for finding in findings] == [Outcome.REFUSED]
    assert len(findings[0].found) <= 100


def test_wrong_number_of_fields_is_refused() -> None:
    """A row with more or fewer fields than the header is refused with both numbers."""
    findings: list[Finding] = []
    assert clean(BadRow(3, 9, 11), findings) is None
    assert findings == [Finding(3, Outcome.REFUSED, "row", "9 fields", "the header has 11")]
