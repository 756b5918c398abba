"""Texts in CSV cells."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bookstore.catalog import csv_cells
from bookstore.catalog.csv_cells import AUTHOR_SEPARATOR, GENRE_SEPARATOR
from bookstore.database.url import conninfo

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "\uff20x", "'=1", "''=1", "=", "'-"]
TEXTS = ["", "Emma", "'Salem's Lot", "'", "1=1", "a-b", " =1", "Ubik + Valis", "''"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_protected(text: str) -> None:
    """A text that begins like a formula begins with an apostrophe in a cell."""
    assert csv_cells.protect(text) == f"'{text}"


@pytest.mark.parametrize("text", TEXTS)
def test_other_texts_are_unchanged(text: str) -> None:
    """Only texts that begin like a formula change, in both directions."""
    assert csv_cells.protect(text) == text
    assert csv_cells.unprotect(text) == text


@given(st.text(st.sampled_from("'=-+@\t ax\uff1d"), max_size=6))
def test_every_text_is_restored(text: str) -> None:
    """Unprotecting a protected text gives the text."""
    assert csv_cells.unprotect(csv_cells.protect(text)) == text


@given(st.lists(st.text(st.sampled_from("ab\\,; "), min_size=1).filter(lambda name: name == name.strip()), min_size=1))
def test_names_are_restored(names: list[str]) -> None:
    """Splitting joined names gives the names."""
    for separator in (AUTHOR_SEPARATOR, GENRE_SEPARATOR):
        parts = csv_cells.split_names(csv_cells.join_names(names, separator), separator)
        assert [part.strip() for part in parts if part.strip()] == names


def test_sql_and_python_agree(url: sa.URL) -> None:
    """PostgreSQL makes the same cells."""
    with psycopg.connect(conninfo(url)) as connection:
        for text in [*FORMULAS, *TEXTS]:
            query = f"SELECT {csv_cells.protect_sql('t')} FROM (SELECT %s::text AS t) AS row"  # noqa: S608 - made of constants
            (cell,) = connection.execute(query.encode(), [text]).fetchone() or ("",)
            assert cell == csv_cells.protect(text)
        null = connection.execute(f"SELECT {csv_cells.protect_sql('NULL::text')}".encode()).fetchone()
        assert null == (None,)
