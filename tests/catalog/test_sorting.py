"""Sort orders: parsing into sort keys with a total order, and the condition for the next page."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import postgresql

from bookstore.catalog import sorting


def names(text: str) -> list[tuple[str, bool]]:
    """The keys as (name, descending)."""
    by_column = {str(make(False).column): name for name, make in sorting.BOOKS.items()}
    return [(by_column[str(key.column).replace("-32768", "32767")], key.descending) for key in parse(text)]


def parse(text: str) -> sorting.SortKeys:
    return sorting.parse(text, sorting.BOOKS)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("id", [("id", False)]),
        ("-id", [("id", True)]),
        ("title", [("title", False), ("id", False)]),
        ("-publication_year", [("publication_year", True), ("id", True)]),
        ("title,-created_at", [("title", False), ("created_at", True), ("id", True)]),
        ("-title,id", [("title", True), ("id", False)]),
        ("id,title", [("id", False)]),  # keys after the id have no effect
        ("-title,-id,created_at", [("title", True), ("id", True)]),
    ],
)
def test_keys(text: str, keys: list[tuple[str, bool]]) -> None:
    """Every order ends with the id, in the direction of the key before it."""
    assert names(text) == keys


@pytest.mark.parametrize("text", ["", ",", "title,", "price", "--title", "Title", "title,title", "title,-title", "id "])
def test_unknown_keys(text: str) -> None:
    """An unknown or repeated key raises an error that names it."""
    with pytest.raises(ValueError, match=r"^found '"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["id", "-title", "-title,-id", "title,id,created_at", "created_at", "publication_year"]
)
def test_orders_with_an_index(text: str) -> None:
    """An order by one key is accepted, with the id that it ends with anyway, or without."""
    accepted = sorting.parse_indexed(text, sorting.BOOKS, sorting.BOOK_PAIRS)
    assert [(str(key.column), key.descending) for key in accepted] == [
        (str(key.column), key.descending) for key in parse(text)
    ]


@pytest.mark.parametrize(
    "text",
    ["title,-id", "created_at,title", "title,created_at", "publication_year,-title", "-publication_year,-title",
     "-publication_year,created_at", "publication_year,title,-id", "publication_year,title,created_at"],
)  # fmt: skip
def test_orders_without_an_index(text: str) -> None:
    """Any other order raises an error that names the order and those that are allowed."""
    with pytest.raises(
        ValueError, match=rf"^found '{text}', .* allowed is one of id, title, .* -publication_year,title$"
    ):
        sorting.parse_indexed(text, sorting.BOOKS, sorting.BOOK_PAIRS)


@pytest.mark.parametrize("pair", sorting.BOOK_PAIRS)
def test_pairs_are_one_range(pair: str) -> None:
    """The accepted orders by two keys have one direction each, so that the next page is one range of an index."""
    keys = sorting.parse_indexed(f"{pair},id", sorting.BOOKS, sorting.BOOK_PAIRS)
    assert " OR " not in str(sorting.keyset_condition(keys).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("text", ["title", "-title", "publication_year", "-publication_year", "created_at"])
def test_one_direction_is_one_range(text: str) -> None:
    """If all keys have one direction, the condition is one row comparison, a range of an index."""
    condition = str(sorting.keyset_condition(parse(text)).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert (" < (" if text.startswith("-") else " > (") in condition
    assert " OR " not in condition


def test_mixed_directions_begin_with_a_range() -> None:
    """With mixed directions, a condition on the first key lets an index scan start there."""
    condition = str(sorting.keyset_condition(parse("-created_at,id")).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert condition.startswith("book.created_at <= ")
