"""Authors. Two of them may have the same name."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bookstore.catalog import schemas, search, sorting
from bookstore.catalog.inputs import AuthorInput
from bookstore.catalog.loading import author
from bookstore.catalog.models import Author, book_author
from bookstore.catalog.repositories.named_entities import NamedEntityRepository


class AuthorRepository(NamedEntityRepository[Author]):
    model_type = Author
    table = author
    columns = (author.c.id, author.c.name)
    tag = sa.cast(author.c.version, sa.Text)
    changed_at = sa.cast(sa.func.floor(sa.extract("epoch", author.c.updated_at)), sa.BigInteger)
    key = book_author.c.author_id
    orders = sorting.AUTHORS
    item = schemas.Author
    pages = schemas.AuthorPage
    draft = AuthorInput

    def check_free(self, values: dict[str, Any], of: int | None) -> None:
        """Any name is free."""

    def renamed(self, of: int) -> None:
        """The author's books are found by the new name."""
        search.refresh_documents(self._session, self.books(of, locked=True))
