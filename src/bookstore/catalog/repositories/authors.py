"""Authors. Two authors may have the same name."""

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
    link_column = book_author.c.author_id
    orders = sorting.AUTHORS
    item_type = schemas.Author
    page_type = schemas.AuthorPage
    input_type = AuthorInput

    def check_unique(self, values: dict[str, Any], row_id: int | None) -> None:
        """Accept any name: names of authors are not unique."""

    def add_words(self, row_id: int) -> None:
        """Add the words of the name to those that replace misspelt ones."""
        search.add_name(self._session, row_id)

    def lock_described(self, row_id: int) -> list[int]:
        """Lock the author's books and return their ids."""
        return self.book_ids(row_id, lock=True)
