"""Genres. Name and slug are one genre's only."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bookstore.catalog import schemas, sorting
from bookstore.catalog.inputs import GenreInput
from bookstore.catalog.loading import genre
from bookstore.catalog.models import Genre, book_genre
from bookstore.catalog.repositories.named_entities import NamedEntityRepository
from bookstore.exceptions import ApiError, FieldError

# Counted in the index of (genre_id, book_id) alone.
_BOOK_COUNT = sa.select(sa.func.count()).where(book_genre.c.genre_id == genre.c.id).correlate(genre).scalar_subquery()


class GenreRepository(NamedEntityRepository[Genre]):
    model_type = Genre
    table = genre
    columns = (genre.c.id, genre.c.name, genre.c.slug, _BOOK_COUNT)
    tag = sa.func.concat_ws(".", genre.c.version, _BOOK_COUNT, type_=sa.Text())
    changed_at = sa.null()  # the count changes without the genre
    key = book_genre.c.genre_id
    orders = sorting.GENRES
    item = schemas.GenreDetail
    pages = schemas.GenrePage
    draft = GenreInput

    def check_free(self, values: dict[str, Any], of: int | None) -> None:
        """Raises ApiError `name_taken`, naming the genre that has the name or the slug."""
        name, slug = genre.c.name == values["name"], genre.c.slug == values["slug"]
        other = sa.select(genre.c.id, name).where(sa.or_(name, slug), genre.c.id != (of or 0)).limit(1)
        if found := self._session.execute(other).first():
            member = "name" if found[1] else "slug"
            detail = f"/genres/{found[0]} has the {member} '{values[member]}'."
            raise ApiError("name_taken", detail, FieldError(detail, pointer=f"/{member}"))

    def renamed(self, of: int) -> None:
        """Nothing else holds a genre's name."""
