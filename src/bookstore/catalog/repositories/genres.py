"""Genres. Names and slugs are unique."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bookstore.catalog import schemas, sorting
from bookstore.catalog.inputs import GenreInput
from bookstore.catalog.loading import fetch, genre
from bookstore.catalog.models import Genre, book_genre
from bookstore.catalog.repositories.named_entities import NamedEntityRepository
from bookstore.exceptions import ApiError, FieldError

# An index-only scan of (genre_id, book_id).
_BOOK_COUNT = sa.select(sa.func.count()).where(book_genre.c.genre_id == genre.c.id).correlate(genre).scalar_subquery()
_ID_BY_SLUG = sa.select(genre.c.id).where(genre.c.slug == sa.bindparam("slug", type_=sa.Text))


class GenreRepository(NamedEntityRepository[Genre]):
    model_type = Genre
    table = genre
    columns = (genre.c.id, genre.c.name, genre.c.slug, _BOOK_COUNT)
    tag = sa.func.concat_ws(".", genre.c.version, _BOOK_COUNT, type_=sa.Text())
    changed_at = sa.null()  # unknown: the count changes without a change of the genre
    link_column = book_genre.c.genre_id
    orders = sorting.GENRES
    item_type = schemas.GenreDetail
    page_type = schemas.GenrePage
    input_type = GenreInput

    def id_of(self, key: int | str) -> int:
        """Return the id of the genre with this id or slug, or 0, which no genre has. A slug is never a number."""
        if isinstance(key, int) or key.isdigit():
            return int(key)
        rows = fetch(self._session, _ID_BY_SLUG, {"slug": key})
        return int(rows[0][0]) if rows else 0

    def check_unique(self, values: dict[str, Any], row_id: int | None) -> None:
        """Raise ApiError `name_taken` that names the genre with the same name or slug."""
        name, slug = genre.c.name == values["name"], genre.c.slug == values["slug"]
        other = sa.select(genre.c.id, name).where(sa.or_(name, slug), genre.c.id != (row_id or 0)).limit(1)
        if row := self._session.execute(other).first():
            member = "name" if row[1] else "slug"
            detail = f"/genres/{row[0]} has the {member} '{values[member]}'."
            raise ApiError("name_taken", detail, FieldError(detail, pointer=f"/{member}"))

    def add_words(self, row_id: int) -> None:
        """Do nothing: genres are not searched by name."""

    def lock_described(self, row_id: int) -> list[int]:  # noqa: ARG002 - the interface's
        """Return no books: search documents do not contain a genre's name."""
        return []
