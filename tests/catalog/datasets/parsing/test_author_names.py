"""Authors in one cell, in a known format."""

from __future__ import annotations

import pytest

from bookstore.catalog.datasets.parsing.author_names import CELL_BREAK, AuthorFormat, Order, split_authors

FIRST_LAST, LAST_FIRST = Order.FIRST_LAST, Order.LAST_FIRST


@pytest.mark.parametrize(
    ("cell", "separators", "order", "authors"),
    [
        ("Neil Gaiman, Terry Pratchett", ",", FIRST_LAST, ["Neil Gaiman", "Terry Pratchett"]),
        ("Tolkien, J.R.R.", ",", LAST_FIRST, ["J.R.R. Tolkien"]),
        ("Tolkien, J.R.R., Lewis, C.S.", ",", LAST_FIRST, ["J.R.R. Tolkien", "C.S. Lewis"]),
        ("Gaiman, Neil; Pratchett, Terry", ";", LAST_FIRST, ["Neil Gaiman", "Terry Pratchett"]),
        ("Plato; Beethoven, Ludwig van", ";", LAST_FIRST, ["Plato", "Ludwig van Beethoven"]),
        ("Gaiman, Neil & Pratchett, Terry", " & ", LAST_FIRST, ["Neil Gaiman", "Terry Pratchett"]),
        ("Tolkien, J. R. R. (John Ronald), 1892-1973.", ",", LAST_FIRST, ["J. R. R. (John Ronald) Tolkien"]),
        ("J.K. Rowling/Mary GrandPré", "/", FIRST_LAST, ["J.K. Rowling", "Mary GrandPré"]),
        ("Neil Gaiman|Terry Pratchett", "|", FIRST_LAST, ["Neil Gaiman", "Terry Pratchett"]),
        ("Neil Gaiman\r\nTerry Pratchett", "\n", FIRST_LAST, ["Neil Gaiman", "Terry Pratchett"]),
        ("Neil Gaiman\nTerry Pratchett", ",", FIRST_LAST, ["Neil Gaiman\nTerry Pratchett"]),
        ("James Patterson with Maxine Paetro", " with ", FIRST_LAST, ["James Patterson", "Maxine Paetro"]),
        ("Hans Anderson and Bo Band", "and", FIRST_LAST, ["Hans Anderson", "Bo Band"]),
        ("AT&T Labs & Bell Labs", "&", FIRST_LAST, ["AT&T Labs", "Bell Labs"]),
        ("Jean-Paul Sartre - Simone de Beauvoir", " - ", FIRST_LAST, ["Jean-Paul Sartre", "Simone de Beauvoir"]),
        ("Sammy Davis| Jr. & Jane Boyar", " & ", FIRST_LAST, ["Sammy Davis, Jr.", "Jane Boyar"]),
        ('["Neil Gaiman", "Sammy Davis, Jr."]', ",", FIRST_LAST, ["Neil Gaiman", "Sammy Davis, Jr."]),
        ("['Neil Gaiman', 'Terry Pratchett']", ",", FIRST_LAST, ["Neil Gaiman", "Terry Pratchett"]),
        ('["Gaiman, Neil"]', ",", LAST_FIRST, ["Neil Gaiman"]),
        ("['Neil Gaiman', 3]", ";", FIRST_LAST, ["['Neil Gaiman', 3]"]),
        ("['Neil Gaiman' + 1]", ";", FIRST_LAST, ["['Neil Gaiman' + 1]"]),
        (f"Gaiman, Neil{CELL_BREAK}Pratchett, Terry", ";", LAST_FIRST, ["Neil Gaiman", "Terry Pratchett"]),
        (f'Neil Gaiman{CELL_BREAK}=""', ",", FIRST_LAST, ["Neil Gaiman"]),
        ("NULL", ",", FIRST_LAST, []),
        (r"Davis\, Sammy, Ann", ",", FIRST_LAST, ["Davis, Sammy", "Ann"]),
    ],
)
def test_split_authors(cell: str, separators: str, order: Order, authors: list[str]) -> None:
    """Each author is one name with the first name first, whatever separates them in the file."""
    assert split_authors(cell, AuthorFormat((separators,), order)) == authors


@pytest.mark.parametrize(
    "suffix", ["Jr.", "jr", "Sr", "II", "III", "PhD", "Ph.D.", "MD", "M.D.", "Inc.", "Ltd", "LLC", "Esq."]
)
def test_suffix_stays_with_its_name(suffix: str) -> None:
    """A suffix after a comma is part of the name before it, in either order."""
    name = f"Sammy Davis, {suffix}"
    assert split_authors(f"{name}, Bo Cole", AuthorFormat()) == [name, "Bo Cole"]
    for separators in ((",",), (";",)):
        assert split_authors(f"Davis, Sammy, {suffix}", AuthorFormat(separators, LAST_FIRST)) == [name]


def test_company_and_suffix_before_the_first_name() -> None:
    """A company has no first name; Jr. may also follow the surname. Md and Ma are names, not degrees."""
    last_first = AuthorFormat((",",), LAST_FIRST)
    assert split_authors("Random House, Inc., Lewis, C.S.", last_first) == ["Random House, Inc.", "C.S. Lewis"]
    assert split_authors("Davis, Jr., Sammy", last_first) == ["Sammy Davis, Jr."]
    assert split_authors("Rahman, Md", last_first) == ["Md Rahman"]


def test_several_separators() -> None:
    """A list in prose has several separators."""
    written = AuthorFormat((",", " and "))
    assert split_authors("Ann Bell, Bo Cole, and Cy Dee", written) == ["Ann Bell", "Bo Cole", "Cy Dee"]


@pytest.mark.parametrize("separator", [";", " and ", "\n"])
def test_long_cells_cost_little(separator: str) -> None:
    """The longest cell that a CSV file can hold is split in one pass, white space included."""
    gap = " " * 120_000
    assert len(split_authors(f"Ann{gap}Bell", AuthorFormat((separator,)))) == 1


def test_own_export_is_split_literally() -> None:
    """In our own export nothing but an unescaped comma separates names, and nothing means "no author"."""
    names = split_authors(r"Sammy Davis, Jr., Unknown, A\, B", AuthorFormat(exported=True))
    assert [name.strip() for name in names if name] == ["Sammy Davis", "Jr.", "Unknown", "A, B"]
