"""Authors: read, listed, written."""

from __future__ import annotations

import sqlalchemy as sa

from bookstore import schemas, sorting
from bookstore.models import Author
from bookstore.repositories.named import NamedRepository


class AuthorRepository(NamedRepository[Author]):
    model_type = Author
    columns = (Author.id.expression, Author.name.expression)
    tag = sa.cast(Author.version, sa.Text)
    orders = sorting.AUTHORS
    item = schemas.Author
    pages = schemas.AuthorPage
