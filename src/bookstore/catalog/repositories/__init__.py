"""Repositories: queries and writes on books, authors, genres and idempotency keys, and the changes of books.

Belongs here: statements within the Session that a repository receives; it never commits. Does not belong here:
transactions (see `database.unit_of_work`) and the HTTP form of results. `http` imports it.
"""

from bookstore.catalog.repositories.authors import AuthorRepository
from bookstore.catalog.repositories.book_query import BookQuery
from bookstore.catalog.repositories.books import BookRepository
from bookstore.catalog.repositories.changes import ChangeRepository
from bookstore.catalog.repositories.genres import GenreRepository
from bookstore.catalog.repositories.idempotency import IdempotencyRepository
from bookstore.catalog.repositories.named_entities import NamedEntityRepository, NamedQuery

__all__ = [
    "AuthorRepository",
    "BookQuery",
    "BookRepository",
    "ChangeRepository",
    "GenreRepository",
    "IdempotencyRepository",
    "NamedEntityRepository",
    "NamedQuery",
]
