"""Lists of authors and genres."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog.repositories import AuthorRepository, GenreRepository, NamedQuery
from bookstore.exceptions import ApiError

Repository = type[AuthorRepository] | type[GenreRepository]
BOTH = pytest.mark.parametrize("repository", [AuthorRepository, GenreRepository])


def page(session: Session, repository: Repository, **parameters: Any) -> Any:
    query = NamedQuery(**parameters)
    repository.check(query)
    return repository(session).page(query).body


def walk(session: Session, repository: Repository, limit: int, sort: str) -> list[Any]:
    items, cursor = list[Any](), None
    for _ in range(100):
        answer = page(session, repository, limit=limit, sort=sort, cursor=cursor)
        items += answer.items
        cursor = answer.next_cursor
        if cursor is None:
            return items
    raise AssertionError("no end")


@BOTH
@pytest.mark.parametrize("sort", ["id", "-id", "name", "-name"])
def test_walks(session: Session, repository: Repository, sort: str) -> None:
    """Every order and page size returns each entity once: names without accents and case, ties by id."""
    expected = walk(session, repository, 200, "id")
    assert [entity.id for entity in expected] == sorted(entity.id for entity in expected)
    by_name = {"J.R.R. Tolkien": "j", "Émile Zola": "emile", "emile zola": "emile", "O'Brien, Flann": "o"}
    if "name" in sort:
        expected.sort(key=lambda entity: (by_name.get(entity.name, entity.name.lower()), entity.id))
    if sort.startswith("-"):
        expected.reverse()
    for limit in range(1, 8):
        assert walk(session, repository, limit, sort) == expected
    assert page(session, repository, limit=1, total=True).total == len(expected)


def test_book_counts(session: Session, shelf: Any) -> None:
    """A genre has the number of its books, which may be 0."""
    counts = {genre.id: genre.book_count for genre in walk(session, GenreRepository, 3, "id")}
    assert counts == {genre: sum(genre in book["genres"] for book in shelf.books) for genre in (1, 2, 3, 4)}
    assert counts[4] == 0


@BOTH
def test_foreign_cursors(session: Session, repository: Repository) -> None:
    """A cursor of the other list or of another order is rejected."""
    other = GenreRepository if repository is AuthorRepository else AuthorRepository
    cursor = page(session, repository, limit=1).next_cursor
    for target, sort in ((other, "id"), (repository, "-id"), (repository, "name")):
        with pytest.raises(ApiError, match="cursor"):
            target(session).page(NamedQuery(limit=1, sort=sort, cursor=cursor))
    with pytest.raises(ApiError, match="price"):
        repository.check(NamedQuery(limit=1, sort="price"))


@BOTH
def test_total_is_not_older_than_the_state(engine: sa.Engine, shelf: Any, repository: Repository) -> None:
    """A page with a write between its statements has the tag of the state before the write."""
    table = repository.model_type.__tablename__
    sent = list[str]()

    def write_first(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)
        if len(sent) == 2:
            with psycopg.connect(shelf.url.render_as_string(hide_password=False), autocommit=True) as other:
                other.execute(f"UPDATE {table} SET name = name WHERE id = 1")  # noqa: S608

    reading = engine.execution_options(isolation_level="AUTOCOMMIT")
    with Session(reading) as session:
        before = repository(session).page(NamedQuery(limit=1)).tag
        sa.event.listen(engine, "before_cursor_execute", write_first)
        try:
            during = repository(session).page(NamedQuery(limit=1, total=True)).tag
        finally:
            sa.event.remove(engine, "before_cursor_execute", write_first)
        after = repository(session).page(NamedQuery(limit=1)).tag
    assert during == before != after
