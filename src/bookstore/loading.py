"""Loading strategies: how books come out of PostgreSQL with their authors and genres.

A `Selection` says which books, a strategy how. All give the same JSON; they differ in statements,
in bytes and in who does the grouping:

| strategy | statements for N books | the grouping is done by |
|---|---|---|
| lazy | 1 + 2N | the ORM, a statement at each first touch of a relationship |
| joined | 1 | the ORM, out of authors x genres rows a book |
| selectin, subquery | 3 | the ORM |
| rows | 3 | this module: Core rows into structs, no ORM object is made |
| json | 1 | PostgreSQL: one JSON text a book, passed on unparsed |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session, joinedload, lazyload, load_only, selectinload, subqueryload
from sqlalchemy.orm.strategy_options import _AbstractLoad

from bookstore import schemas
from bookstore.models import Author, Book, Genre, book_author, book_genre
from bookstore.profile import Loading

book = cast("sa.Table", Book.__table__)
author = cast("sa.Table", Author.__table__)
genre = cast("sa.Table", Genre.__table__)

Parameters = Mapping[str, Any]


class Selection:
    """Which books, in the order of their ids, how many at most. Values come later, as parameters by name:
    a Selection is built once, and so are its statements.

    The limit is written into the SQL: PostgreSQL's generic plans assume a tenth of the table for a limit
    they cannot see, and then plan anew for every request.
    """

    def __init__(self, *where: sa.ColumnElement[bool], limit: int) -> None:
        self.where = where
        self.limit = limit

    def apply(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        """Asks for one book more than the limit, to know whether there is one."""
        return statement.where(*self.where).order_by(book.c.id).limit(sa.literal_column(str(self.limit + 1)))


class Found(NamedTuple):
    """Up to the limit's number of books by id, and whether there are more. What `json` puts for a book is
    its JSON (msgspec.Raw), which is encoded by copying it."""

    books: dict[int, schemas.Book]
    more: bool


Reader = Callable[[Session, Selection, Parameters], Found]
"""Reads the selected books within the session's transaction."""


def reader(loading: Loading) -> Reader:
    """The way the strategy `loading` reads."""
    return _READERS[loading]


# What the wire does not need stays in the database: for 100 books, joined, that is 560 rows of it.
_WIRE_COLUMNS: Final = load_only(Book.id, Book.title, Book.isbn13, Book.publication_year, Book.language)


def _orm(load: Callable[[Any], _AbstractLoad]) -> Reader:
    @lru_cache(maxsize=512)
    def statement(selection: Selection) -> sa.Select[Any]:
        authors = load(Book.authors).load_only(Author.id, Author.name)
        genres = load(Book.genres).load_only(Genre.id, Genre.name)
        return selection.apply(sa.select(Book)).options(_WIRE_COLUMNS, authors, genres)

    def read(session: Session, selection: Selection, parameters: Parameters) -> Found:
        found = session.scalars(statement(selection), parameters).unique().all()
        books = {item.id: _struct(item) for item in found[: selection.limit]}
        return Found(books, len(found) > selection.limit)

    return read


def _struct(item: Book) -> schemas.Book:
    """Touches the relationships: with `lazy` each touch is a statement."""
    return schemas.Book(
        item.id,
        item.title,
        item.isbn13,
        item.publication_year,
        item.language,
        [schemas.Author(one.id, one.name) for one in item.authors],
        [schemas.Genre(one.id, one.name) for one in item.genres],
    )


_COLUMNS: Final = (book.c.id, book.c.title, book.c.isbn13, book.c.publication_year, book.c.language)
_IDS: Final = sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger))

# One statement serves every page: an array is one parameter, IN (…) would be a statement for each length.
_AUTHORS_OF: Final = (
    sa.select(book_author.c.book_id, author.c.id, author.c.name)
    .join_from(book_author, author)
    .where(book_author.c.book_id == sa.any_(_IDS))
    .order_by(book_author.c.book_id, book_author.c.position)
)
_GENRES_OF: Final = (
    sa.select(book_genre.c.book_id, genre.c.id, genre.c.name)
    .join_from(book_genre, genre)
    .where(book_genre.c.book_id == sa.any_(_IDS))
    .order_by(book_genre.c.book_id, book_genre.c.genre_id)
)


@lru_cache(maxsize=1024)
def _compiled(statement: sa.Select[Any], dialect: sa.Dialect) -> tuple[str, list[str] | None]:
    compiled = statement.compile(dialect=dialect)
    return str(compiled), compiled.positiontup if compiled.positional else None


def _fetch(session: Session, statement: sa.Select[Any], parameters: Parameters) -> Sequence[Any]:
    """All rows of a Core statement whose columns need no conversion by SQLAlchemy.

    The statement is compiled once. Session.execute would find the compiled form by a key that it makes from
    every part of the statement each time: under load that took as long as the rest of the request.
    """
    connection = session.connection()
    sql, order = _compiled(statement, connection.dialect)
    values = parameters if order is None else tuple(parameters[name] for name in order)
    return connection.exec_driver_sql(sql, values).all()


@lru_cache(maxsize=512)
def _columns(selection: Selection) -> sa.Select[Any]:
    return selection.apply(sa.select(*_COLUMNS))


def _read_rows(session: Session, selection: Selection, parameters: Parameters) -> Found:
    found = _fetch(session, _columns(selection), parameters)
    rows = found[: selection.limit]
    if not rows:
        return Found({}, more=False)
    ids = {"ids": [row[0] for row in rows]}
    authors = defaultdict[int, list[schemas.Author]](list)
    for book_id, author_id, name in _fetch(session, _AUTHORS_OF, ids):
        authors[book_id].append(schemas.Author(author_id, name))
    genres = defaultdict[int, list[schemas.Genre]](list)
    for book_id, genre_id, name in _fetch(session, _GENRES_OF, ids):
        genres[book_id].append(schemas.Genre(genre_id, name))
    books = {
        book_id: schemas.Book(book_id, title, isbn13, year, language, authors[book_id], genres[book_id])
        for book_id, title, isbn13, year, language in rows
    }
    return Found(books, len(found) > selection.limit)


@lru_cache(maxsize=512)
def _json(selection: Selection) -> sa.Select[Any]:
    """One row a book: its JSON as text.

    Authors and genres are aggregated once for the page and joined, not in a subquery for each book. The
    page's ids go in as an array, which an index scan takes in one descent; and rows become JSON as whole
    rows: json_build_object looks up each argument's type for each row (pgbench: 1,440 tps against 2,040).
    """
    page = selection.apply(sa.select(*_COLUMNS)).cte("page").prefix_with("MATERIALIZED", dialect="postgresql")
    page_ids = sa.any_(sa.func.array(sa.select(page.c.id).scalar_subquery()))
    nothing: sa.ColumnElement[Any] = sa.literal_column("'[]'::json")

    def aggregated(name: str, link: sa.Table, target: sa.Table, key: sa.Column[Any], order: Any) -> sa.CTE:
        wire = sa.select(target.c.id, target.c.name).subquery(name)
        items = sa.func.json_agg(aggregate_order_by(sa.literal_column(name), order)).label("items")
        return (
            sa.select(link.c.book_id, items)
            .join_from(link, wire, wire.c.id == key)
            .where(link.c.book_id == page_ids)
            .group_by(link.c.book_id)
            .cte(f"{name}s")
        )

    authors = aggregated("author", book_author, author, book_author.c.author_id, book_author.c.position)
    genres = aggregated("genre", book_genre, genre, book_genre.c.genre_id, book_genre.c.genre_id)
    whole = (
        sa.select(
            *page.c,
            sa.func.coalesce(authors.c["items"], nothing).label("authors"),
            sa.func.coalesce(genres.c["items"], nothing).label("genres"),
        )
        .outerjoin_from(page, authors, authors.c.book_id == page.c.id)
        .outerjoin(genres, genres.c.book_id == page.c.id)
        .subquery("book")
    )
    return sa.select(whole.c.id, sa.cast(sa.func.row_to_json(sa.literal_column("book")), sa.Text)).order_by(whole.c.id)


def _read_json(session: Session, selection: Selection, parameters: Parameters) -> Found:
    found = _fetch(session, _json(selection), parameters)
    rows = found[: selection.limit]
    books = {book_id: cast("schemas.Book", msgspec.Raw(text.encode())) for book_id, text in rows}
    return Found(books, len(found) > selection.limit)


_READERS: Final[Mapping[Loading, Reader]] = {
    "lazy": _orm(lazyload),
    "joined": _orm(joinedload),
    "selectin": _orm(selectinload),
    "subquery": _orm(subqueryload),
    "rows": _read_rows,
    "json": _read_json,
}
