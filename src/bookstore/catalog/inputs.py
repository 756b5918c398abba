"""What clients write: books, authors and genres without what the service adds. Unknown members are refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bookstore.catalog import isbn
from bookstore.catalog.models import EARLIEST_YEAR, LATEST_YEAR, MAX_NAME_LENGTH, MAX_TITLE_LENGTH
from bookstore.catalog.slug import slug
from bookstore.config.text import normalise
from bookstore.exceptions import ApiError, FieldError

MAX_IDS: Final = 1000
"""Of authors or genres on one book."""

MAX_BATCH_BOOKS: Final = 1000
"""In one batch."""

MAX_ERRORS: Final = 100
"""Told at once."""

# What the OpenAPI document says of rules whose own sentences tell more than a pattern that was not met.
_TEXT: Final = {"pattern": r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"}
_ISBN: Final = {"format": "isbn"}
_SLUG: Final = {"pattern": "^([0-9]+(-[a-z0-9]+)+|[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*)$"}
_UNIQUE: Final = {"uniqueItems": True}

_Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_Ids = Annotated[list[_Id], Meta(max_length=MAX_IDS, examples=[[1]], extra_json_schema=_UNIQUE)]
_Name = Annotated[
    str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, examples=["Ursula K. Le Guin"], extra_json_schema=_TEXT)
]


class BookInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A book as it is written. `author_ids` stand in the order of the title page."""

    title: Annotated[
        str,
        Meta(
            min_length=1, max_length=MAX_TITLE_LENGTH, examples=["The Left Hand of Darkness"], extra_json_schema=_TEXT
        ),
    ]
    isbn13: (
        Annotated[
            str,
            Meta(
                max_length=20,
                description="ISBN-13 or ISBN-10, with or without hyphens. No two books have the same.",
                examples=["978-0-441-47812-5"],
                extra_json_schema=_ISBN,
            ),
        ]
        | None
    ) = None
    publication_year: Annotated[int, Meta(ge=EARLIEST_YEAR, le=LATEST_YEAR, examples=[1969])] | None = None
    language: Annotated[str, Meta(pattern="^[a-z]{2,3}(-[A-Z]{2})?$", examples=["en-US"])] | None = None
    author_ids: _Ids = []
    genre_ids: _Ids = []

    def validate(self) -> BookInput:
        """The draft as it is kept: its text normalised, its ISBN with 13 digits, its genres in order.

        Raises ApiError `invalid_body` for what no type tells.
        """
        _raise_errors(self.mistakes(""))
        return self._normal()

    def _normal(self) -> BookInput:
        number = None if self.isbn13 is None else isbn.to_isbn13(self.isbn13, restore_zeros=False)
        return msgspec.structs.replace(
            self, title=normalise(self.title), isbn13=number, genre_ids=sorted(self.genre_ids)
        )

    def mistakes(self, pointer: str) -> Iterator[FieldError]:
        """What no type tells; `pointer` is where in the body the draft stands."""
        if not normalise(self.title):
            yield FieldError("A title needs more than white space.", pointer=f"{pointer}/title")
        if self.isbn13 is not None and isbn.to_isbn13(self.isbn13, restore_zeros=False) is None:
            detail = "An ISBN-13 or ISBN-10 is needed whose check digit is right."
            yield FieldError(detail, pointer=f"{pointer}/isbn13")
        for name, ids in (("author_ids", self.author_ids), ("genre_ids", self.genre_ids)):
            seen: set[int] = set()
            for place, one in enumerate(ids):
                if one in seen:
                    yield FieldError(f"{one} stands there twice.", pointer=f"{pointer}/{name}/{place}")
                seen.add(one)


class BookBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Books that are made together: all of them, or none."""

    items: Annotated[list[BookInput], Meta(min_length=1, max_length=MAX_BATCH_BOOKS)]

    def validate(self) -> list[BookInput]:
        """The drafts as they are kept. Raises ApiError `invalid_body` as theirs, for all of them."""
        _raise_errors(mistake for place, item in enumerate(self.items) for mistake in item.mistakes(f"/items/{place}"))
        return [item._normal() for item in self.items]  # noqa: SLF001 - of the same module


class AuthorInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An author as it is written. Two authors may have the same name."""

    name: _Name

    def validate(self) -> AuthorInput:
        """The draft as it is kept. Raises ApiError `invalid_body` for a blank name."""
        return AuthorInput(name=_validate_name(self.name))


class GenreInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A genre as it is written. Without a `slug` the name makes one."""

    name: Annotated[
        str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, examples=["Science Fiction"], extra_json_schema=_TEXT)
    ]
    slug: (
        Annotated[
            str,
            Meta(
                max_length=100,
                description="The genre's name in a URL; not of digits alone.",
                examples=["science-fiction"],
                extra_json_schema=_SLUG,
            ),
        ]
        | None
    ) = None

    def validate(self) -> GenreInput:
        """The draft as it is kept. Raises ApiError `invalid_body` for a blank name and for a slug like an id."""
        if self.slug is not None and not re.match(_SLUG["pattern"], self.slug):
            detail = "A slug is made of a-z, 0-9 and single hyphens between them; a number alone would be an id."
            raise ApiError("invalid_body", f"slug: {detail}", FieldError(detail, pointer="/slug"))
        name = _validate_name(self.name)
        return GenreInput(name=name, slug=self.slug or slug(name))


def _raise_errors(mistakes: Iterable[FieldError]) -> None:
    found = list(islice(mistakes, MAX_ERRORS))
    if found:
        raise ApiError("invalid_body", f"The body is not valid in {len(found)} of its members.", *found)


def _validate_name(text: str) -> str:
    name = normalise(text)
    if not name:
        detail = "A name needs more than white space."
        raise ApiError("invalid_body", f"name: {detail}", FieldError(detail, pointer="/name"))
    return name
