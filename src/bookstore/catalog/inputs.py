"""Request bodies: books, authors and genres without the members that the service adds. Unknown members are invalid."""

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
from bookstore.config.text import is_visible, normalise
from bookstore.exceptions import ApiError, FieldError

MAX_IDS: Final = 1000
"""Authors, or genres, per book."""

MAX_BATCH_BOOKS: Final = 1000
"""Books per batch."""

MAX_ERRORS: Final = 100
"""Field errors per response."""

# For the OpenAPI document only: the code below checks these rules, with clearer messages than "pattern not matched".
_TEXT: Final = {"pattern": r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"}
"""Of the invisible characters only white space, because few tools know `\\p{…}`; the descriptions state the rule."""
_VISIBLE: Final = "At least one character is visible, and none is a control character."
_ISBN: Final = {"format": "isbn"}
_SLUG: Final = {"pattern": "^([0-9]+(-[a-z0-9]+)+|[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*)$"}
_UNIQUE: Final = {"uniqueItems": True}

_Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_Ids = Annotated[list[_Id], Meta(max_length=MAX_IDS, examples=[[1]], extra_json_schema=_UNIQUE)]
_Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description=_VISIBLE,
        examples=["Ursula K. Le Guin"],
        extra_json_schema=_TEXT,
    ),
]


class BookInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A book in a request. `author_ids` are in the order of the title page."""

    title: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_TITLE_LENGTH,
            description=_VISIBLE,
            examples=["The Left Hand of Darkness"],
            extra_json_schema=_TEXT,
        ),
    ]
    isbn13: (
        Annotated[
            str,
            Meta(
                max_length=20,
                description="ISBN-13 or ISBN-10, with or without hyphens. Unique among books.",
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
        """Return the book as it is stored: text normalised, ISBN with 13 digits, genres sorted.

        Raises ApiError `invalid_body` if it breaks a rule that the types do not cover.
        """
        _raise_errors(self.errors(""))
        return self._normalise()

    def _normalise(self) -> BookInput:
        number = None if self.isbn13 is None else isbn.to_isbn13(self.isbn13, restore_zeros=False)
        return msgspec.structs.replace(
            self, title=normalise(self.title), isbn13=number, genre_ids=sorted(self.genre_ids)
        )

    def errors(self, pointer: str) -> Iterator[FieldError]:
        """Yield violations of rules that the types do not cover. `pointer` is the JSON Pointer of this book."""
        if not is_visible(self.title):
            yield FieldError("The title has no visible character.", pointer=f"{pointer}/title")
        if self.isbn13 is not None and isbn.to_isbn13(self.isbn13, restore_zeros=False) is None:
            detail = "Must be an ISBN-13 or ISBN-10 with a correct check digit."
            yield FieldError(detail, pointer=f"{pointer}/isbn13")
        for name, ids in (("author_ids", self.author_ids), ("genre_ids", self.genre_ids)):
            seen: set[int] = set()
            for index, id_ in enumerate(ids):
                if id_ in seen:
                    yield FieldError(f"{id_} is listed twice.", pointer=f"{pointer}/{name}/{index}")
                seen.add(id_)


class BookBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Books to create together: all of them or none."""

    items: Annotated[list[BookInput], Meta(min_length=1, max_length=MAX_BATCH_BOOKS)]

    def validate(self) -> list[BookInput]:
        """Return the books as they are stored. Raises ApiError `invalid_body` with the errors of all of them."""
        _raise_errors(error for index, item in enumerate(self.items) for error in item.errors(f"/items/{index}"))
        return [item._normalise() for item in self.items]  # noqa: SLF001 - same module


class AuthorInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An author in a request. Two authors may have the same name."""

    name: _Name

    def validate(self) -> AuthorInput:
        """Return the author as it is stored. Raises ApiError `invalid_body` if the name is blank."""
        return AuthorInput(name=_validate_name(self.name))


class GenreInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A genre in a request. Without a `slug`, one is derived from the name."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_NAME_LENGTH,
            description=_VISIBLE,
            examples=["Science Fiction"],
            extra_json_schema=_TEXT,
        ),
    ]
    slug: (
        Annotated[
            str,
            Meta(
                max_length=100,
                description="The genre's name in a URL; not digits only.",
                examples=["science-fiction"],
                extra_json_schema=_SLUG,
            ),
        ]
        | None
    ) = None

    def validate(self) -> GenreInput:
        """Return the genre as it is stored. Raises ApiError `invalid_body` for a blank name or an invalid slug."""
        if self.slug is not None and not re.match(_SLUG["pattern"], self.slug):
            detail = (
                "A slug consists of a-z, 0-9 and single hyphens between them, and is not a number: a number is an id."
            )
            raise ApiError("invalid_body", f"slug: {detail}", FieldError(detail, pointer="/slug"))
        name = _validate_name(self.name)
        return GenreInput(name=name, slug=self.slug or slug(name))


def _raise_errors(errors: Iterable[FieldError]) -> None:
    first = list(islice(errors, MAX_ERRORS))
    if first:
        raise ApiError("invalid_body", f"Invalid members in the request body: {len(first)}.", *first)


def _validate_name(text: str) -> str:
    name = normalise(text)
    if not is_visible(name):
        detail = "The name has no visible character."
        raise ApiError("invalid_body", f"name: {detail}", FieldError(detail, pointer="/name"))
    return name
