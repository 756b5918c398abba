"""Find and store. Repositories work in the session they are given and never commit."""

from bookstore.repositories.authors import AuthorRepository
from bookstore.repositories.books import BookRepository
from bookstore.repositories.genres import GenreRepository
from bookstore.repositories.idempotency import IdempotencyRepository
from bookstore.repositories.named import NamedQuery, NamedRepository
from bookstore.repositories.query import BookQuery

__all__ = [
    "AuthorRepository",
    "BookQuery",
    "BookRepository",
    "GenreRepository",
    "IdempotencyRepository",
    "NamedQuery",
    "NamedRepository",
]
