"""Query parameters of lists: filters, order, pagination, with their limits and their texts in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter, SkipValidation

from bookstore.catalog import isbn, schemas, sorting
from bookstore.catalog.models import EARLIEST_YEAR, LATEST_YEAR
from bookstore.catalog.repositories import BookQuery, NamedQuery
from bookstore.database.unit_of_work import Database
from bookstore.exceptions import ApiError, FieldError
from bookstore.http.openapi.operations import ISBN

DEFAULT_LIMIT: Final = 20

LARGEST_LIMIT: Final = 200

LARGEST_ID: Final = 2**63 - 1

MOST_CHARACTERS: Final = 100
"""Of the words of a search."""

_FIELDS: Final = "^({0})(,({0}))*$".format("|".join(schemas.ListedBook.__struct_fields__))

_InTurn = NamedDependency[SkipValidation[Database]]
"""What a dependency of a handler asks for to be resolved after `database`: side by side with it Litestar would
start a task for each, 200 µs a request."""

Id = Annotated[int, PathParameter(ge=1, le=LARGEST_ID)]

Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_LIMIT, description="How many on a page at most.")]

Cursor = Annotated[
    str | None, QueryParameter(min_length=1, max_length=4000, description="`next_cursor` of the page before.")
]

Total = Annotated[bool, QueryParameter(description="Whether to count all pages; on a large catalogue that takes time.")]


def _is_text(maximum: int = MOST_CHARACTERS, **more: Any) -> Any:
    return QueryParameter(min_length=1, max_length=maximum, **more)


AuthorId = Annotated[int | None, QueryParameter(ge=1, le=LARGEST_ID, description="Books of this author.")]

Genre = Annotated[
    str | None,
    _is_text(pattern="^([0-9]{1,18}|[0-9]*[a-z-][a-z0-9-]*)$", description="Books of this genre: its slug or its id."),
]


def book_query(
    database: _InTurn,  # noqa: ARG001 - for its turn
    language: Annotated[
        str | None,
        QueryParameter(pattern="^[a-z]{2,3}(-[A-Z]{2})?$", description="`en` finds `en-US` too, `en-US` no other."),
    ] = None,
    isbn13: Annotated[
        str | None, _is_text(20, description="ISBN-13 or ISBN-10, with or without hyphens.", schema_extra=ISBN)
    ] = None,
    year_from: Annotated[
        int | None, QueryParameter(ge=EARLIEST_YEAR, le=LATEST_YEAR, description="Published in this year or later.")
    ] = None,
    year_to: Annotated[
        int | None, QueryParameter(ge=EARLIEST_YEAR, le=LATEST_YEAR, description="Published in this year or before.")
    ] = None,
    q: Annotated[
        str | None,
        _is_text(
            description="Words of the title and of the authors' names, all of which have to be there; accents and "
            "case do not matter, typing errors hardly.",
            schema_extra={"pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"},
        ),
    ] = None,
    sort: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            description="`id`, `title`, `publication_year`, `created_at` or, with `q`, `relevance`; `-` for "
            "descending, several by comma, each once. Books without a year come last. Words of `q` "
            "that over 5,000 books have allow `relevance` and `id` only.",
            schema_extra={"pattern": sorting.pattern([*sorting.BOOKS, "relevance"])},
        ),
    ] = None,
    fields: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            description="Only these members, by comma: `id,title`; `created_at` and `updated_at` too.",
            schema_extra={"pattern": _FIELDS},
        ),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    total: Total = False,
) -> BookQuery:
    """What every list of books may be asked for, beside author and genre."""
    return BookQuery(
        language=language,
        isbn13=None if isbn13 is None else _isbn13(isbn13),
        year_from=year_from,
        year_to=year_to,
        q=q,
        sort=sort,
        fields=fields,
        limit=limit,
        cursor=cursor,
        total=total,
    )


def named_query(
    database: _InTurn,  # noqa: ARG001 - for its turn
    sort: Annotated[
        str,
        QueryParameter(
            min_length=1,
            description="`id` or `name`; `-` for descending.",
            schema_extra={"pattern": sorting.pattern(sorting.AUTHORS)},  # genres have the same
        ),
    ] = "id",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    total: Total = False,
) -> NamedQuery:
    """What a list of authors or genres is asked for."""
    return NamedQuery(sort=sort, limit=limit, cursor=cursor, total=total)


def _isbn13(text: str) -> str:
    found = isbn.to_isbn13(text, restore_zeros=False)
    if found is None:
        detail = f"found '{text}'; allowed is an ISBN-13 or ISBN-10 whose check digit is right"
        raise ApiError("invalid_parameter", f"isbn13: {detail}", FieldError(detail, parameter="isbn13"))
    return found
