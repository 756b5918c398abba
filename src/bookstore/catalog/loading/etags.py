"""Validators of a book (RFC 9110, 8.8): its entity tag and the time of its last change.

A book contains its authors' and genres' names, so its tag combines its own version with the sums of their versions.
Versions only grow, and a change of links is a new version of the book, so no two states have the same tag. The tag
includes the id because an ISBN can move to another book, and with it the URL.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog.loading.selection import Parameters, Selection, author, book, fetch, genre
from bookstore.catalog.models import book_author, book_genre


def _links_state(target: sa.Table, link: sa.Table, key: sa.Column[Any]) -> sa.FromClause:
    return (
        sa.select(
            sa.func.coalesce(sa.func.sum(target.c.version), 0).label("version"),
            sa.func.max(target.c.updated_at).label("updated_at"),
        )
        .join_from(link, target, target.c.id == key)
        .where(link.c.book_id == book.c.id)
        .lateral(f"{target.name}s_state")
    )


_AUTHORS: Final = _links_state(author, book_author, book_author.c.author_id)
_GENRES: Final = _links_state(genre, book_genre, book_genre.c.genre_id)

TAG: Final = sa.func.concat_ws(
    sa.literal_column("'.'"), book.c.id, book.c.version, _AUTHORS.c.version, _GENRES.c.version, type_=sa.Text()
).label("tag")
_CHANGED_AT = sa.func.greatest(book.c.updated_at, _AUTHORS.c.updated_at, _GENRES.c.updated_at)
CHANGED_AT: Final = sa.cast(sa.func.floor(sa.extract("epoch", _CHANGED_AT)), sa.BigInteger).label("changed_at")

_JOINS: Final = {_AUTHORS: sa.true(), _GENRES: sa.true()}

BY_ID: Final = Selection(book.c.id == sa.bindparam("id", type_=sa.BigInteger), joins=_JOINS)
BY_ISBN: Final = Selection(book.c.isbn13 == sa.bindparam("isbn13", type_=sa.Text), joins=_JOINS)
"""One book, joined with the inputs of TAG and CHANGED_AT."""

_STATEMENTS: Final = {selection: selection.single(TAG, CHANGED_AT) for selection in (BY_ID, BY_ISBN)}


def validators(session: Session, selection: Selection, parameters: Parameters) -> tuple[str, int] | None:
    """Return the tag and the change time, in seconds since 1970, of a book without reading it; None if it is missing.

    `selection` is BY_ID or BY_ISBN.
    """
    rows = fetch(session, _STATEMENTS[selection], parameters)
    return (rows[0][0], rows[0][1]) if rows else None
