"""Query parameters of lists: filters, order and pagination, with their limits and OpenAPI descriptions."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter, SkipValidation

from bookstore.catalog import isbn, pagination, schemas, sorting
from bookstore.catalog.loading import MAX_LIMIT
from bookstore.catalog.models import EARLIEST_YEAR, LATEST_YEAR
from bookstore.catalog.repositories import BookQuery, NamedQuery
from bookstore.catalog.repositories.filters import MAX_GENRES
from bookstore.config.text import excerpt
from bookstore.database.unit_of_work import Database
from bookstore.http.openapi.operations import ISBN, comma_separated

T = TypeVar("T", int, str)

DEFAULT_LIMIT: Final = 20
LARGEST_LIMIT: Final = MAX_LIMIT
LARGEST_ID: Final = 2**63 - 1
MOST_CHARACTERS: Final = 100
"""In a search query."""
MOST_VALUES: Final = 200
"""In `id` or `isbn13`: as many books as fit on a page."""

_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
)

_ID: Final = re.compile("[1-9][0-9]{0,18}")
_ALLOWED_ISBN: Final = "an ISBN-13 or ISBN-10 with a correct check digit"

_AfterDatabase = NamedDependency[SkipValidation[Database]]
"""Declared by a dependency so that it is resolved after `database`. Litestar would otherwise resolve both
concurrently, with a task for each, which costs 200 µs per request."""

Id = Annotated[int, PathParameter(ge=1, le=LARGEST_ID)]

GenreId = Annotated[
    str,
    PathParameter(
        max_length=100,
        pattern="^([1-9][0-9]{0,17}|[0-9]*[a-z-][a-z0-9-]*)$",
        description="The id or the slug of the genre.",
    ),
]

Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_LIMIT, description="The maximum number of items on a page.")]

Cursor = Annotated[
    str | None, QueryParameter(min_length=1, max_length=4000, description="The `next_cursor` of the previous page.")
]

Total = Annotated[
    bool, QueryParameter(description="Return the `total` number of items on all pages. Slow on a large catalogue.")
]


_NO_CONTROLS: Final = {"pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"}


def _text_parameter(maximum: int = MOST_CHARACTERS, **more: Any) -> Any:
    return QueryParameter(min_length=1, max_length=maximum, **more)


_GENRE: Final = "([0-9]{1,18}|[0-9]{0,50}[a-z-][a-z0-9-]{0,99})"

AuthorId = Annotated[int | None, QueryParameter(ge=1, le=LARGEST_ID, description="Only books by this author.")]

Genre = Annotated[
    str | None,
    _text_parameter(
        MAX_GENRES * MOST_CHARACTERS,
        pattern=f"^{_GENRE}(,{_GENRE}){{0,{MAX_GENRES - 1}}}$",
        description="Only books of this genre, given as slug or id. Several genres, separated by commas: only books "
        f"that have all of them; at most {MAX_GENRES}.",
    ),
]


def book_query(
    database: _AfterDatabase,  # noqa: ARG001 - for the order of resolution
    ids: Annotated[
        str | None,
        QueryParameter(
            name="id",
            min_length=1,
            description=f"Only books with these ids, separated by commas; at most {MOST_VALUES}. Unknown ids are "
            "absent from the response.",
            schema_extra={"pattern": f"^[1-9][0-9]{{0,17}}(,[1-9][0-9]{{0,17}}){{0,{MOST_VALUES - 1}}}$"},
        ),
    ] = None,
    language: Annotated[
        str | None,
        QueryParameter(
            pattern="^[a-z]{2,3}(-[A-Z]{2})?$",
            description="Only books in this language. `en` also matches `en-US`; `en-US` matches only itself.",
        ),
    ] = None,
    isbn13: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            description="Only books with this ISBN-13 or ISBN-10, with or without hyphens, or with one of several, "
            f"separated by commas; at most {MOST_VALUES}. Unknown numbers are absent from the response.",
            schema_extra=ISBN,
        ),
    ] = None,
    year_from: Annotated[
        int | None,
        QueryParameter(ge=EARLIEST_YEAR, le=LATEST_YEAR, description="Only books published in this year or later."),
    ] = None,
    year_to: Annotated[
        int | None,
        QueryParameter(ge=EARLIEST_YEAR, le=LATEST_YEAR, description="Only books published in this year or earlier."),
    ] = None,
    updated_since: Annotated[
        str | None,
        _text_parameter(
            description="Only books that changed at this time or later, ordered by `updated_at` if `sort` is absent. "
            "Does not show deletions, nor changes of names; a transaction that commits late appears with an earlier "
            "time. `/changes` misses nothing.",
            schema_extra={"format": "date-time"},
        ),
    ] = None,
    q: Annotated[
        str | None,
        _text_parameter(
            description="Search words. A book matches if all of them occur in its title or its authors' names. Accents "
            "and case are ignored; a word that occurs in no book is replaced by the most similar ones.",
            schema_extra=_NO_CONTROLS,
        ),
    ] = None,
    sort: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            description="One of `id`, `title`, `publication_year`, `created_at` and `updated_at`, each with `-` for "
            "descending, `publication_year,title` or `-publication_year,title`. With `q`, also `relevance` and any "
            "combination, "
            "separated by commas; with words that more than 5,000 books have, only `relevance` and `id`. Books without "
            "a year come last. Other orders are refused, because they have no index.",
            schema_extra=comma_separated(sorting.choices([*sorting.BOOKS, "relevance"])),
        ),
    ] = None,
    fields: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            description="The members to return, separated by commas, such as `id,title`. Includes `created_at` and "
            "`updated_at`, which are omitted by default.",
            schema_extra=comma_separated(schemas.ListedBook.__struct_fields__),
        ),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    total: Total = False,
) -> BookQuery:
    """The parameters of every list of books, except author and genre."""
    return BookQuery(
        id=None if ids is None else _values("id", ids, _to_id, f"an id from 1 to {LARGEST_ID}"),
        language=language,
        isbn13=None if isbn13 is None else _values("isbn13", isbn13, _to_isbn13, _ALLOWED_ISBN),
        year_from=year_from,
        year_to=year_to,
        updated_since=None if updated_since is None else _time(updated_since),
        q=q,
        sort=sort,
        fields=fields,
        limit=limit,
        cursor=cursor,
        total=total,
    )


def author_query(
    database: _AfterDatabase,  # noqa: ARG001 - for the order of resolution
    q: Annotated[
        str | None,
        _text_parameter(
            description="Words of a name. An author matches if the name contains all of them. Accents and case are "
            "ignored; a word that occurs in no name is replaced by the most similar ones.",
            schema_extra=_NO_CONTROLS,
        ),
    ] = None,
    sort: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            description="The sort key: `id`, `name` or, with `q`, `relevance`, which is then the default. Prefix it "
            "with `-` for descending order. If `q` matches more than 5,000 authors, only `relevance` and `id` are "
            "allowed.",
            schema_extra=comma_separated(sorting.choices([*sorting.AUTHORS, "relevance"])),
        ),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    total: Total = False,
) -> NamedQuery:
    """The parameters of the list of authors."""
    return NamedQuery(q=q, sort=sort, limit=limit, cursor=cursor, total=total)


def genre_query(
    database: _AfterDatabase,  # noqa: ARG001 - for the order of resolution
    sort: Annotated[
        str,
        QueryParameter(
            min_length=1,
            description="The sort key: `id` or `name`. Prefix it with `-` for descending order.",
            schema_extra=comma_separated(sorting.choices(sorting.GENRES)),
        ),
    ] = "id",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    total: Total = False,
) -> NamedQuery:
    """The parameters of the list of genres."""
    return NamedQuery(sort=sort, limit=limit, cursor=cursor, total=total)


def _time(text: str) -> datetime:
    """Return an RFC 3339 time in UTC. Raises ApiError if `text` is none, or has no offset."""
    if _TIME.fullmatch(text):
        with suppress(ValueError, OverflowError):  # no such day, or not within the years 1 to 9999 in UTC
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    detail = f"found '{text}'; allowed is a time with an offset, such as 2026-11-29T13:30:00Z (write + as %2B)"
    raise pagination.invalid_parameter("updated_since", detail)


def _values(parameter: str, text: str, convert: Callable[[str], T | None], allowed: str) -> tuple[T, ...]:
    """Return the comma-separated values of `text`, each once and in order, so that equal sets have the same cursors.

    Raises ApiError for a value that `convert` returns as None, and for more than MOST_VALUES values.
    """
    parts = text.split(",")
    values = {part: convert(part) for part in parts[:MOST_VALUES]}
    if len(parts) > MOST_VALUES:
        detail = f"found {len(parts)} values; allowed are {MOST_VALUES}; send more requests"
    elif wrong := [part for part, value in values.items() if value is None]:
        detail = f"found '{excerpt(wrong[0])}'; allowed is {allowed}"
    else:
        return tuple(sorted({value for value in values.values() if value is not None}))
    raise pagination.invalid_parameter(parameter, detail)


def _to_id(text: str) -> int | None:
    """Return the id, or None. Only ASCII digits without leading zeros, as in a path."""
    return int(text) if _ID.fullmatch(text) and int(text) <= LARGEST_ID else None


def _to_isbn13(text: str) -> str | None:
    return isbn.to_isbn13(text, restore_zeros=False)
