"""Query parameters of book lists (filters, order, members, cursor), and their translation into a Selection."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import pagination, schemas, search
from bookstore.catalog.loading import MEMBERS, Selection
from bookstore.catalog.models import EARLIEST_YEAR, LATEST_YEAR
from bookstore.catalog.repositories import book_selection
from bookstore.catalog.repositories.book_selection import Shape

_ALL_MEMBERS: Final = schemas.ListedBook.__struct_fields__


class BookQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a list of books; None if not sent.

    `genre` has slugs or ids, separated by commas: books of all these genres, MAX_GENRES at most. `id` and `isbn13` have
    each value once, in order: books with any of them.
    """

    id: tuple[int, ...] | None = None
    author_id: int | None = None
    genre: str | None = None
    language: str | None = None
    isbn13: tuple[str, ...] | None = None
    year_from: int | None = None
    year_to: int | None = None
    updated_since: datetime | None = None
    q: str | None = None
    sort: str | None = None
    fields: str | None = None
    limit: int
    cursor: str | None = None
    total: bool = False

    def filters(self) -> dict[str, Any]:
        """Return the values of the parameters of the FILTERS that apply."""
        plain = ("author_id", "updated_since")
        values: dict[str, Any] = {name: value for name in plain if (value := getattr(self, name)) is not None}
        values |= {name: list(chosen) for name in ("id", "isbn13") if (chosen := getattr(self, name)) is not None}
        if self.genre is not None:
            named = {str(int(one)) if one.isdigit() else one for one in self.genre.split(",")}
            first, *others = sorted(named)
            values |= {"genre_id": int(first)} if first.isdigit() else {"genre_slug": first}
            values |= {f"genre_{number}": name for number, name in enumerate(others, 2)}
        if self.language is not None:  # en also matches en-US; en-US matches only itself (RFC 4647, basic filtering)
            values["region" if "-" in self.language else "language"] = self.language
        if self.year_from is not None or self.year_to is not None:
            values["year_from"] = EARLIEST_YEAR if self.year_from is None else self.year_from
            values["year_to"] = LATEST_YEAR if self.year_to is None else self.year_to
        return values

    def order(self) -> str:
        unsorted = "id" if self.updated_since is None else "updated_at"
        return self.sort or (unsorted if self.q is None else "relevance")

    def list_key(self) -> str:
        """Return what identifies the list in its cursors: filters, search text and order."""
        return repr((sorted(self.filters().items()), self.q, self.order()))

    def members(self) -> tuple[str, ...]:
        """Return the members in `fields`, in response order. Raises ApiError for unknown members."""
        if self.fields is None:
            return MEMBERS
        wanted = self.fields.split(",")
        for name in wanted:
            if name not in _ALL_MEMBERS:
                raise pagination.invalid_parameter(
                    "fields", f"found '{name[:40]}'; allowed is {', '.join(_ALL_MEMBERS)}"
                )
        return tuple(name for name in _ALL_MEMBERS if name in wanted)

    def check(self) -> None:
        """Raise ApiError if the query is invalid, the cursor aside. Does not access the database."""
        self.members()
        book_selection.sort_keys(self.order(), has_words=self.q is not None)

    def decode_cursor(self, session: Session) -> tuple[search.Interpretation | None, list[Any]]:
        """Return the cursor's interpretation of the search text and its sort key values; (None, []) without a cursor.

        Raises ApiError for a cursor that was not issued for this list.
        """
        if self.cursor is None:
            return None, []
        values = pagination.decode(self.cursor, self.list_key(), pagination.signing_key(session))
        if self.q is None:
            return None, values
        return pagination.convert_values(values[:2], search.Interpretation), values[2:]


class ResolvedQuery(NamedTuple):
    """A query ready to execute: the selection of a page, the statement that counts all books, and their parameters."""

    selection: Selection
    count_statement: sa.Select[Any]
    parameters: Mapping[str, Any]
    search_query: search.Interpretation | None
    state: str | None
    """The state of the database when the search text was interpreted, None if it was not."""

    def next_cursor(self, session: Session, query: BookQuery, last_key: tuple[Any, ...] | None) -> str | None:
        """Return the cursor of the next page, which follows `last_key`.

        None for `last_key` is the end of the books that were read. If more can follow, the next page begins there.
        """
        if last_key is None and (rows := self.selection.last_scanned(session, self.parameters)):
            last_key = rows[0]
        if last_key is None:
            return None
        values = [*(self.search_query or ()), *last_key]
        return pagination.encode(values, query.list_key(), pagination.signing_key(session))


def resolve(session: Session, query: BookQuery) -> ResolvedQuery:
    """Translate `query` into statements.

    The search text is interpreted for the first page, and the cursors contain the result: a book added later may
    contain the unknown word that was replaced, which would change the list between two pages.
    """
    search_query, values = query.decode_cursor(session)
    state = None
    if query.q is not None and search_query is None:
        search_query, state = search.interpret(session, query.q)
    parameters = query.filters() | {"limit": query.limit}
    if search_query is not None:
        parameters["query"] = search_query.query
    shape = Shape.choose(session, query.order(), None if search_query is None else search_query.is_common, parameters)
    selection = book_selection.selection(shape, query.members(), has_cursor=bool(values))
    if values:
        parameters |= pagination.keyset_parameters(values, selection.keys)
    return ResolvedQuery(selection, book_selection.count(shape), parameters, search_query, state)
