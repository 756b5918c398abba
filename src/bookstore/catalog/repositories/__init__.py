"""Find and store. Repositories work in the session they are given and never commit."""

from bookstore.catalog.repositories.authors import AuthorRepository
from bookstore.catalog.repositories.book_query import BookQuery
from bookstore.catalog.repositories.books import BookRepository
from bookstore.catalog.repositories.genres import GenreRepository
from bookstore.catalog.repositories.idempotency import IdempotencyRepository
from bookstore.catalog.repositories.named_entities import NamedEntityRepository, NamedQuery

__all__ = [
    "AuthorRepository",
    "BookQuery",
    "BookRepository",
    "GenreRepository",
    "IdempotencyRepository",
    "NamedEntityRepository",
    "NamedQuery",
]
