"""Response bodies and what a unit of work returns: plain structs, no ORM objects."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class Author(msgspec.Struct, frozen=True, gc=False):
    id: int
    name: str


class Genre(msgspec.Struct, frozen=True, gc=False):
    id: int
    name: str


class Book(msgspec.Struct, frozen=True):
    """`authors` are in the order of the title page, `genres` in the order of their ids."""

    id: int
    title: str
    isbn13: str | None
    publication_year: int | None
    language: str | None
    authors: list[Author]
    genres: list[Genre]


class ListedBook(msgspec.Struct, frozen=True):
    """A Book, or the members of it that `fields` selects."""

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
    """`next_cursor` is the `cursor` of the next page; null on the last page. `total`, if requested, is the number of
    books on all pages."""

    items: list[ListedBook]
    next_cursor: str | None
    total: int | UnsetType = UNSET


class Change(msgspec.Struct, frozen=True):
    """A change of the book `id`. `upsert`: it was created or changed, and `book` is its current state. `delete`: it no
    longer exists, and `book` is absent."""

    id: int
    op: Literal["upsert", "delete"]
    changed_at: datetime
    book: Book | UnsetType = UNSET


class ChangePage(msgspec.Struct, frozen=True):
    """Send `next_cursor` as `since` of the next request: at once if `has_more`, otherwise whenever you like."""

    items: list[Change]
    next_cursor: str
    has_more: bool


class GenreDetail(msgspec.Struct, frozen=True, gc=False):
    """`slug` is the genre's name in a URL, `book_count` the number of books in the genre."""

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
    """A body and its validators (RFC 9110, 8.8). `tag` identifies the state of the data (None for an empty page),
    `changed_at` is in seconds since 1970. `body` is None if only the validators are needed."""

    body: msgspec.Struct | None
    tag: str | None
    changed_at: int | None = None


class StoredResponse(msgspec.Struct, frozen=True):
    """The response to a write, stored to be replayed for the same idempotency key: JSON and headers."""

    status: int
    headers: dict[str, str]
    body: msgspec.Raw
    replayed: bool = False


class NewBooks(msgspec.Struct, frozen=True):
    """The ids of the books of a batch, in the same order."""

    ids: list[int]
