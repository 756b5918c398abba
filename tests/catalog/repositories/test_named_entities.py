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


def page(session: Session, repository: Repository, **asked: Any) -> Any:
    query = NamedQuery(**asked)
    repository.check(query)
    return repository(session).page(query).body


def walk(session: Session, repository: Repository, limit: int, sort: str) -> list[Any]:
    items, following = list[Any](), None
    for _ in range(100):
        found = page(session, repository, limit=limit, sort=sort, cursor=following)
        items += found.items
        following = found.next_cursor
        if following is None:
            return items
    raise AssertionError("no end")


@BOTH
@pytest.mark.parametrize("sort", ["id", "-id", "name", "-name"])
def test_walks(session: Session, repository: Repository, sort: str) -> None:
    """In every order and pages of every size, each comes once: names without accents and case, ties by id."""
    every = walk(session, repository, 200, "id")
    assert [one.id for one in every] == sorted(one.id for one in every)
    by_name = {"J.R.R. Tolkien": "j", "Émile Zola": "emile", "emile zola": "emile", "O'Brien, Flann": "o"}
    every.sort(key=lambda one: (by_name.get(one.name, one.name.lower()), one.id) if "name" in sort else one.id)
    if sort.startswith("-"):
        every.reverse()
    for limit in range(1, 8):
        assert walk(session, repository, limit, sort) == every
    assert page(session, repository, limit=1, total=True).total == len(every)


def test_book_counts(session: Session, shelf: Any) -> None:
    """A genre says how many books are of it, none too."""
    counts = {one.id: one.book_count for one in walk(session, GenreRepository, 3, "id")}
    assert counts == {one: sum(one in book["genres"] for book in shelf.books) for one in (1, 2, 3, 4)}
    assert counts[4] == 0


@BOTH
def test_foreign_cursors(session: Session, repository: Repository) -> None:
    """A cursor of the other list, or of another order, is refused."""
    other = GenreRepository if repository is AuthorRepository else AuthorRepository
    following = page(session, repository, limit=1).next_cursor
    for of, sort in ((other, "id"), (repository, "-id"), (repository, "name")):
        with pytest.raises(ApiError, match="cursor"):
            of.check(NamedQuery(limit=1, sort=sort, cursor=following))
    with pytest.raises(ApiError, match="price"):
        repository.check(NamedQuery(limit=1, sort="price"))


@BOTH
def test_total_is_not_older_than_the_state(engine: sa.Engine, shelf: Any, repository: Repository) -> None:
    """What was written between the statements of a page belongs to a newer state than the page's tag names."""
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
