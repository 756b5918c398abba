"""What goes over the wire. A unit of work returns these and nothing else."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType


class Author(msgspec.Struct, frozen=True, gc=False):
    id: int
    name: str


class Genre(msgspec.Struct, frozen=True, gc=False):
    id: int
    name: str


class Book(msgspec.Struct, frozen=True):
    """`authors` stand in the order of the title page, `genres` in the order of their ids."""

    id: int
    title: str
    isbn13: str | None
    publication_year: int | None
    language: str | None
    authors: list[Author]
    genres: list[Genre]


class ListedBook(msgspec.Struct, frozen=True):
    """A Book, or those of its members that were asked for with `fields`."""

    id: int | UnsetType = UNSET
    title: str | UnsetType = UNSET
    isbn13: str | UnsetType | None = UNSET
    publication_year: int | UnsetType | None = UNSET
    language: str | UnsetType | None = UNSET
    authors: list[Author] | UnsetType = UNSET
    genres: list[Genre] | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    updated_at: datetime | UnsetType = UNSET


class BookPage(msgspec.Struct, frozen=True):
    """`next_cursor` is what to send as `cursor` for the next page; null on the last one. `total`, where it
    was asked for, counts the books of all pages."""

    items: list[ListedBook]
    next_cursor: str | None
    total: int | UnsetType = UNSET


class GenreDetail(msgspec.Struct, frozen=True, gc=False):
    """`slug` is the genre's name in a URL, `book_count` the number of books that it is on."""

    id: int
    name: str
    slug: str
    book_count: int


class AuthorPage(msgspec.Struct, frozen=True):
    items: list[Author]
    next_cursor: str | None
    total: int | UnsetType = UNSET


class GenrePage(msgspec.Struct, frozen=True):
    items: list[GenreDetail]
    next_cursor: str | None
    total: int | UnsetType = UNSET


class Representation(msgspec.Struct, frozen=True):
    """A body and its validators: `tag` names the state it was read in (None where nothing does), `changed_at`
    is in seconds since 1970. Without a body it is the state alone, for a client who has the body."""

    body: msgspec.Struct | None
    tag: str | None
    changed_at: int | None = None


class StoredResponse(msgspec.Struct, frozen=True):
    """The answer to a write, as it is given once more to the same request: JSON and headers."""

    status: int
    headers: dict[str, str]
    body: msgspec.Raw
    replayed: bool = False


class NewBooks(msgspec.Struct, frozen=True):
    """The ids of the books of a batch, in its order."""

    ids: list[int]
