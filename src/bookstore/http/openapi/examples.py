"""Example values for the response schemas of the OpenAPI document, by schema name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bookstore.catalog import schemas

_AUTHOR: Final = schemas.Author(id=17, name="Ursula K. Le Guin")
_GENRE: Final = schemas.Genre(id=3, name="Science Fiction")
_GENRE_DETAIL: Final = schemas.GenreDetail(id=3, name="Science Fiction", slug="science-fiction", book_count=812)
_BOOK: Final = schemas.Book(
    id=1024,
    title="The Left Hand of Darkness",
    isbn13="9780441478125",
    publication_year=1969,
    language="en-US",
    authors=[_AUTHOR],
    genres=[_GENRE],
)
_LISTED: Final = schemas.ListedBook(**{name: getattr(_BOOK, name) for name in _BOOK.__struct_fields__})
_CURSOR: Final = "u0Q1wq3yNnVbWzEwMjRd"

EXAMPLES: Final[Mapping[str, Any]] = {
    type(example).__name__: msgspec.to_builtins(example)
    for example in (
        _AUTHOR,
        _GENRE,
        _GENRE_DETAIL,
        _BOOK,
        schemas.BookPage([_LISTED], next_cursor=_CURSOR, total=9966),
        schemas.AuthorPage([_AUTHOR], next_cursor=_CURSOR),
        schemas.GenrePage([_GENRE_DETAIL], next_cursor=None),
        schemas.ChangePage(
            [
                schemas.Change(1024, "upsert", datetime(2026, 11, 29, 13, 30, tzinfo=UTC), _BOOK),
                schemas.Change(1023, "delete", datetime(2026, 11, 29, 13, 31, tzinfo=UTC)),
            ],
            _CURSOR,
            has_more=False,
        ),
        schemas.NewBooks([1024, 1025]),
    )
}
