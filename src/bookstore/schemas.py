"""What goes over the wire. A unit of work returns these and nothing else."""

from __future__ import annotations

import msgspec


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


class BookPage(msgspec.Struct, frozen=True):
    """`next_cursor` is what to send as `cursor` for the next page; null on the last one."""

    items: list[Book]
    next_cursor: str | None
