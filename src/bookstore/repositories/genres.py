"""Genres: read, listed, written."""

from __future__ import annotations

import sqlalchemy as sa

from bookstore import schemas, sorting
from bookstore.models import Genre, book_genre
from bookstore.repositories.named import NamedRepository

# Counted in the index of (genre_id, book_id) alone.
_BOOK_COUNT = sa.select(sa.func.count()).where(book_genre.c.genre_id == Genre.id).correlate(Genre).scalar_subquery()


class GenreRepository(NamedRepository[Genre]):
    model_type = Genre
    columns = (Genre.id.expression, Genre.name.expression, Genre.slug.expression, _BOOK_COUNT)
    tag = sa.func.concat_ws(sa.literal_column("'.'"), Genre.version, _BOOK_COUNT, type_=sa.Text())
    orders = sorting.GENRES
    item = schemas.GenreDetail
    pages = schemas.GenrePage
