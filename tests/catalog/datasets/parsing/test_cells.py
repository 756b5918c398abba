"""ISBNs, years and missing values as people's tools write them."""

from __future__ import annotations

import pytest
from tests.catalog.datasets.parsing.test_cleaning import clean_cells

from bookstore.catalog.datasets.parsing import cells


@pytest.mark.parametrize(
    "written",
    [
        "9780439023481", "[9780439023481]", '="9780439023481"', "ISBN: 978-0-439-02348-1", "ISBN-13: 9780439023481",
        "isbn 9780439023481", "ISBN13 9780439023481", "9780439023481.0", "9780439023481,00", "'9780439023481",
        "urn:isbn:9780439023481", "URN:ISBN:978-0-439-02348-1", "9.780439023481E+12", " 978 0439 02348 1 ",
        "9780439023481 (pbk.)", "0439023483", "ISBN-10: 0-439-02348-3", '="0439023483"', '"0439023483"', "0439023483.0",
    ],
)  # fmt: skip
@pytest.mark.parametrize("column", ["isbn", "isbn13"])
def test_isbn_is_read_without_a_finding(written: str, column: str) -> None:
    """What tools put around an ISBN is not part of it, and no damage."""
    entry, findings = clean_cells(**{column: written})
    assert entry is not None
    assert (entry.isbn13, findings) == ("9780439023481", [])


def test_isbn10_with_lower_case_x_or_a_lost_zero() -> None:
    """The check digit may be a small x, and a lost leading zero is restored with a finding."""
    assert clean_cells(isbn="0-8044-2957-x")[0] == clean_cells(isbn="080442957X")[0]
    entry, findings = clean_cells(isbn="439023483.0")
    assert entry is not None
    assert (entry.isbn13, [finding.reason for finding in findings]) == ("9780439023481", ["leading zeros restored"])


MISSING = ['=""', "NULL", "N/A", "#N/A", "nan", "NaN", "None", "-", "—", "\\N", "unknown", "NA", "<NA>", "?", " ", "''"]


@pytest.mark.parametrize("written", [word for word in MISSING if word != "''"])
def test_missing_values_are_empty_cells(written: str) -> None:
    """The usual spellings of a missing value count as an empty cell, without a finding."""
    entry, findings = clean_cells(
        authors=written, isbn=written, isbn13=written, publication_year=written, language=written, genres=written
    )
    assert entry is not None
    assert entry[2:] == (None, None, None, (), ())
    assert findings == []


def test_words_that_look_missing() -> None:
    """Na is a surname, na a language, and there is a book named None; but no title is NULL."""
    entry, _ = clean_cells(title="None", authors="Na", language="na")
    assert entry is not None
    assert (entry.title, entry.authors, entry.language) == ("None", ("Na",), "na")
    entry, findings = clean_cells(title="NULL", original_title="nan")
    assert entry is None
    assert findings[0].reason == "a book needs a title"


def test_zeros_are_no_isbn() -> None:
    """A row of zeros has a correct check digit, but stands for an unknown ISBN."""
    for written in ("0", "0000000000", "0.0"):
        assert cells.isbn_digits(written) == ""


@pytest.mark.parametrize(
    ("written", "year"),
    [
        ("2001-05-03", 2001), ("1988-06", 1988), ("05/03/2001", 2001), ("9/16/2006", 2006), ("3.5.2001", 2001),
        ("2001/05/03", 2001), ("20010503", 2001), ("06/1988", 1988), ("May 2001", 2001), ("May 3, 2001", 2001),
        ("3rd May 2001", 2001), ("03-Mar-2001", 2001), ("Sept. 2001", 2001), ("Spring 2001", 2001), ("2001 May", 2001),
        ("2006-11-28T00:00:00+00:00", 2006), ("2001-05-03 10:20:30", 2001), ("5/3/2001 12:00:00 AM", 2001),
        ("c1999", 1999), ("©1999", 1999), ("c. 1850", 1850), ("ca. 1850", 1850), ("[1999]", 1999), ("[c1999]", 1999),
        ("[1999?]", 1999), ("(1999)", 1999), ("1999.0", 1999), ('="1999"', 1999), ("'1999", 1999), ("-750", -750),
        ("0099", 99), ("1999-2001", None), ("05/03/01", None), ("Mayhem 2001", None), ("1999.5", None), ("2001-", None),
    ],
)  # fmt: skip
def test_year_of(written: str, year: int | None) -> None:
    """The year is read out of dates and catalogue cards; what is ambiguous is no year."""
    assert cells.year_of(written) == year


@pytest.mark.parametrize("written", ["0", "0.0", "0000", "0000-00-00", "0101-01-01T00:00:00+00:00"])
def test_year_zero_is_missing(written: str) -> None:
    """Book-Crossing, MySQL and Calibre write a date that stands for none."""
    entry, findings = clean_cells(publication_year=written)
    assert entry is not None
    assert (entry.publication_year, findings) == (None, [])
