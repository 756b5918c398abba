"""The format of a column of authors: found with evidence, or refused."""

from __future__ import annotations

import csv
import gzip

import pytest

from bookstore.catalog.datasets import sample_path
from bookstore.catalog.datasets.parsing.author_format import GuessedFormat, author_format
from bookstore.catalog.datasets.parsing.author_names import AuthorFormat, Order
from bookstore.exceptions import ConfigurationError

FIRST_LAST, LAST_FIRST = Order.FIRST_LAST, Order.LAST_FIRST


def guess(*cells: str, separators: tuple[str, ...] = (), order: Order = Order.AUTO) -> GuessedFormat:
    return author_format("books.csv", list(cells), separators, order)


@pytest.mark.parametrize(
    ("cells", "separators", "order"),
    [
        (["Jane Austen", "Neil Gaiman, Terry Pratchett"], (",",), FIRST_LAST),
        (["Sammy Davis, Jr.", "Random House, Inc."], (",",), FIRST_LAST),
        (["Tolkien, J.R.R."], (",",), LAST_FIRST),
        (["Austen, Jane", "Orwell, George", "Woolf, Virginia"], (",",), LAST_FIRST),
        (["García Márquez, Gabriel", "Allende, Isabel", "de la Cruz, Juana Inés"], (",",), LAST_FIRST),
        (["Tolkien, J.R.R., Lewis, C.S.", "Orwell, George"], (",",), LAST_FIRST),
        (["Davis Jr., Sammy K.", "Austen, Jane"], (",",), LAST_FIRST),
        (["Gaiman, Neil; Pratchett, Terry", "King, Martin Luther, Jr."], (";",), LAST_FIRST),
        (["Neil Gaiman; Terry Pratchett", "Jane Austen"], (";",), FIRST_LAST),
        (["Neil Gaiman & Terry Pratchett", "Sammy Davis| Jr."], (" & ",), FIRST_LAST),
        (["Gaiman, Neil & Pratchett, Terry", "Tolkien, J.R.R."], (" & ",), LAST_FIRST),
        (["Aldrin, Buzz|Barnes, John", "Morgan, Richard K."], ("|",), LAST_FIRST),
        (["J.K. Rowling/Mary GrandPré", "Jane Austen"], ("/",), FIRST_LAST),
        (["AC/DC", "Simon & Schuster", "Johnson and Johnson", *["Jane Austen"] * 300], (",",), FIRST_LAST),
        (["Gaiman/Pratchett", "Jane Austen"], ("/",), FIRST_LAST),
        (["Neil Gaiman\nTerry Pratchett"], ("\n",), FIRST_LAST),
        (["Ann Bell, Bo Cole and Cy Dee", "Ann Bell and Bo Cole"], (",", " and "), FIRST_LAST),
        (['["Neil Gaiman", "Terry Pratchett"]', "['Jane Austen']"], (",",), FIRST_LAST),
        (["Homer, Robert Fagles, E.V. Rieu", *["Jane Austen"] * 20], (",",), FIRST_LAST),
        (["", "NULL", '=""'], (",",), FIRST_LAST),
    ],
)
def test_format_of_the_column(cells: list[str], separators: tuple[str, ...], order: Order) -> None:
    """Separator and order follow from the column as a whole."""
    assert guess(*cells).format == AuthorFormat(separators, order)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["Tolkien, J.R.R.", "Jane Austen", "Neil Gaiman, Terry Pratchett"], "--author-order last-first or"),
        (["Austen, Jane"], "1 look like 'Last, First' (Austen, Jane), 0 like"),
        (["Neil Gaiman; Terry Pratchett", "Ann Bell|Bo Cole"], "--author-separator ';'"),
        (["Neil Gaiman, Terry Pratchett", "Ann Bell/Bo Cole"], "',' (rows: 1, such as 'Neil Gaiman, Terry Pratchett')"),
    ],
)
def test_ambiguous_column_is_refused(cells: list[str], message: str) -> None:
    """A column with evidence for two formats is an error with both, and with what to pass."""
    with pytest.raises(ConfigurationError) as caught:
        guess(*cells)
    assert message in str(caught.value)
    assert str(caught.value).startswith("books.csv: the ")


def test_options_decide() -> None:
    """A given separator or order is used, and only the other one is guessed."""
    assert guess("Austen, Jane", order=LAST_FIRST).format == AuthorFormat((",",), LAST_FIRST)
    assert guess("Austen, Jane", order=FIRST_LAST).examples == [("Austen, Jane", ["Austen", "Jane"])]
    assert guess("Ann Bell|Bo Cole; Cy", separators=(";",)).examples[0][1] == ["Ann Bell|Bo Cole", "Cy"]


def test_rare_separator_is_named_but_not_used() -> None:
    """A mark that is rare beside the usual separator stays in the name, and the evidence says so."""
    guessed = guess(*[f"Ann Bell{n}, Bo Cole" for n in range(50)], "Cy Dee/Ed Fox")
    assert guessed.format.separators == (",",)
    assert any("'/'" in reason and "Cy Dee/Ed Fox" in reason for reason in guessed.evidence)


def test_shipped_sample_is_clear() -> None:
    """The shipped sample is comma-separated with the first name first, and has three examples."""
    with gzip.open(sample_path(), "rt", encoding="utf-8", newline="") as text:
        guessed = guess(*(row["authors"] for row in csv.DictReader(text)))
    assert guessed.format == AuthorFormat()
    assert len(guessed.examples) == 3
