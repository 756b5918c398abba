"""Lists of books as CSV and as NDJSON, part by part.

Both are the same for every loading strategy. The CSV is RFC 4180 in UTF-8 with a header row, and `bookstore catalog
import` reads it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from bookstore.catalog import schemas
from bookstore.catalog.csv_cells import AUTHOR_SEPARATOR, GENRE_SEPARATOR, join_names, protect

Books = Sequence[schemas.ListedBook] | msgspec.Raw
"""Books as a loading strategy returns them: structs, or the JSON of an array."""


class BookFormat(NamedTuple):
    """A media type, how a document of books with some members begins, and how such books are encoded."""

    media_type: str
    begin: Callable[[Sequence[str]], bytes]
    encode: Callable[[Books, Sequence[str]], bytes]


def _csv_header(members: Sequence[str]) -> bytes:
    return _csv_rows([members])


def _csv_books(books: Books, members: Sequence[str]) -> bytes:
    if isinstance(books, msgspec.Raw):
        books = msgspec.json.decode(books, type=list[schemas.ListedBook])
    return _csv_rows([[_cell(getattr(book, name)) for name in members] for book in books])


def _csv_rows(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """Return the cell of a member. Numbers are never formulas, so a year BCE needs no protection."""
    if isinstance(value, str):
        return protect(value)
    if isinstance(value, list):
        separator = GENRE_SEPARATOR if value and isinstance(value[0], schemas.Genre) else AUTHOR_SEPARATOR
        return protect(join_names([named.name for named in value], separator))
    return msgspec.to_builtins(value) if isinstance(value, datetime) else value


def _no_header(_: Sequence[str]) -> bytes:
    return b""


def _json_lines(books: Books, _: Sequence[str]) -> bytes:
    items = msgspec.json.decode(books, type=list[msgspec.Raw]) if isinstance(books, msgspec.Raw) else books
    return msgspec.json.Encoder().encode_lines(items)


FORMATS: Final[Mapping[str, BookFormat]] = {
    item.media_type: item
    for item in (
        BookFormat("text/csv", _csv_header, _csv_books),
        BookFormat("application/x-ndjson", _no_header, _json_lines),
    )
}
