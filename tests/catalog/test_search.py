"""Search: which books words find, tolerance of typing errors, and that signs have no meaning."""

from __future__ import annotations

# ruff: noqa: RUF001 - letters that look alike are the subject
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from bookstore.catalog import search
from bookstore.catalog.repositories import BookQuery, BookRepository
from bookstore.database.url import for_driver
from bookstore.exceptions import ApiError

BOOKS = {
    1: ("The Hobbit", ["J.R.R. Tolkien"]),
    2: ("The Hobbit, or There and Back Again", ["J. R. R. Tolkien", "Alan Lee"]),
    3: ("Tolkien: a Life", ["Humphrey Carpenter"]),
    4: ("Les Misérables", ["Victor Hugo"]),
    5: ("Catch-22", ["Joseph Heller"]),
    6: ("At Swim-Two-Birds", ["Flann O'Brien"]),
    7: ("Война и мир", ["Лев Толстой"]),
    8: ("100% <Wolf> & AT&T: C++ a_b c\\d 'e' f|g h!i (j)", []),
    9: ("978-0-439-02348-1 is its number", []),
    10: ("Ünïcödé", ["Zoë Ångström"]),
    15: ("Ender’s Game", []), 16: ("Europe 1914–1918: an e‑mail", []), 17: ("Email for two", []),
    18: ("ノルウェイの森", ["村上春樹"]), 19: ("京都と東京", []), 20: ("해리 포터", []),
    21: ("แฮร์รี่ พอตเตอร์", []), 22: ("東京都", []),
    11: ("Common one", []), 12: ("Common two", []), 13: ("Common three", []), 14: ("Common common", []),
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[sa.Engine]:
    with own_database() as url:
        created = sa.create_engine(for_driver(url, "psycopg-sync")[0])
        with Session(created) as session:
            for book_id, (title, names) in BOOKS.items():
                session.execute(sa.text("INSERT INTO book (id, title) VALUES (:id, :t)"), {"id": book_id, "t": title})
                for place, name in enumerate(names):
                    add = "INSERT INTO author (name) VALUES (:name) RETURNING id"
                    session.execute(
                        sa.text(f"WITH a AS ({add}) INSERT INTO book_author SELECT :book, :place, id FROM a"),  # noqa: S608 - a constant
                        {"name": name, "book": book_id, "place": place},
                    )
            search.refresh_documents(session, list(BOOKS))
            session.commit()
        yield created
        created.dispose()


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[Session]:
    """A session whose changes are rolled back."""
    with Session(engine) as new:
        yield new


def page(session: Session, **parameters: Any) -> Any:
    query = BookQuery(**{"limit": 200, **parameters})
    query.check()
    return json.loads(msgspec.json.encode(BookRepository(session, "json").page(query).body))


def matching_ids(session: Session, q: str, **parameters: Any) -> list[int]:
    return [book["id"] for book in page(session, q=q, **parameters)["items"]]


@pytest.mark.parametrize(
    ("q", "books"),
    [
        ("hobbit", {1, 2}), ("HOBBIT", {1, 2}), ("the hobbit back", {2}), ("hobbit hobbit", {1, 2}),
        ("hobbit lee", {2}), ("hobbit hugo", set()),
        ("J.R.R. Tolkien", {1, 2}), ("j r r tolkien", {1, 2}), ("J. R. R. Tolkien", {1, 2}),
        ("misérables", {4}), ("miserables", {4}), ("mise\N{COMBINING ACUTE ACCENT}rables", {4}), ("MISÉRABLES", {4}),
        ("unicode", {10}), ("zoe angstrom", {10}), ("Zo\N{LATIN SMALL LETTER E WITH DIAERESIS} ängström", {10}),
        ("catch 22", {5}), ("catch-22", {5}), ("Catch_22", {5}), ("22", {5}), ("swim-two-birds", {6}),
        ("two", {6, 12, 17}),
        ("o'brien", {6}), ("O\N{RIGHT SINGLE QUOTATION MARK}Brien", {6}), ("brien", {6}),
        ("война", {7}), ("ВОЙНА", {7}), ("толстой мир", {7}),
        ("978-0-439-02348-1", {9}), ("439 02348", {9}), ("wolf", {8}), ("AT&T", {8}), ("at", {6, 8}),
    ],
)  # fmt: skip
def test_words(session: Session, q: str, books: set[int]) -> None:
    """All words must occur in the title or in names, regardless of accents, case and hyphens."""
    assert set(matching_ids(session, q)) == books
    assert page(session, q=q, total=True, limit=1)["total"] == len(books)


@pytest.mark.parametrize(
    ("q", "books"),
    [
        ("ender's game", {15}), ("ender’s game", {15}), ("enders game", {15}), ("“Ender”", {15}), ("ｅｎｄｅｒ", {15}),
        ("1918", {16}), ("1914-1918", {16}), ("1914–1918", {16}), ("EUROPE — 1914", {16}),
        ("e-mail", {16, 17}), ("e‐mail", {16, 17}), ("email", {16, 17}), ("e mail", {16}),
        ("jrr tolkien", {1}), ("obrien", {6}), ("o brien", {6}), ("catch22", {5}), ("ca\u00adtch\u200b 22", {5}),
    ],
)  # fmt: skip
def test_typography(session: Session, q: str, books: set[int]) -> None:
    """Typographic punctuation equals ASCII punctuation, and parts of a compound are found in the compound."""
    assert set(matching_ids(session, q)) == books


@pytest.mark.parametrize(
    ("q", "books"),
    [
        ("ノルウェイ", {18}), ("ウェイの", {18}), ("森", {18}), ("の森", {18}), ("ﾉﾙｳｪｲ", {18}),
        ("ノルウェイ 村上", {18}), ("春樹", {18}), ("森ノ", set()), ("ノウ", set()),
        ("東京", {19, 22}), ("東京都", {22}), ("京都", {19, 22}), ("都", {19, 22}),
        ("포터", {20}), ("터", {20}), ("พอต", {21}), ("common ノルウェイ", set()),
    ],
)  # fmt: skip
def test_parts_of_unspaced_text(session: Session, q: str, books: set[int]) -> None:
    """In scripts without spaces a part of a title or name is found, and only where its characters are together."""
    assert set(matching_ids(session, q)) == books


def test_parts_of_unspaced_text_use_the_index(session: Session) -> None:
    """A part is looked up in the index of documents; the table is not read for it."""
    query = search.interpret(session, "ノルウェイ")[0].query
    session.execute(sa.text("SET LOCAL enable_seqscan = off"))
    plan = "\n".join(
        session.scalars(
            sa.text("EXPLAIN SELECT book_id FROM book_document WHERE document @@ CAST(:query AS tsquery)"),
            {"query": query},
        )
    )
    assert "Bitmap Index Scan on ix_book_document_document" in plan


@pytest.mark.parametrize(
    ("q", "books"),
    [("hobit", {1, 2}), ("tolkein", {1, 2, 3}), ("miserabels", {4}), ("carpentr", {3}), ("hobit tolkein", {1, 2})],
)
def test_typing_errors(session: Session, q: str, books: set[int]) -> None:
    """A word that no book contains is replaced by similar words."""
    assert set(matching_ids(session, q)) == books


@pytest.mark.parametrize("q", ["qqqqqq", "hobbit qqqqqq", "9999999"])
def test_words_of_no_book(session: Session, q: str) -> None:
    """A word without matches and without similar words finds nothing."""
    assert page(session, q=q, total=True) == {"items": [], "next_cursor": None, "total": 0}


@pytest.mark.parametrize("q", ["%", "_", "\\", "'", "''", ":*", "|", "&", "!", "<->", "()", "'\\'", "%%%", " ", "$1"])
def test_signs_alone(session: Session, q: str) -> None:
    """Signs are not words: they find nothing, and none acts as a pattern."""
    assert matching_ids(session, q) in ([], [9])  # the 1 of $1 is a word


@pytest.mark.parametrize(
    "q",
    ["hob%", "hobbi_", "hob:*", "hobbit | hugo", "hobbit & !tolkien", "hobbit <-> or", "(hobbit)", "h*"],
)
def test_signs_between_words(session: Session, q: str) -> None:
    """Signs only separate words: there is no negation, prefix search or alternative."""
    plain = "".join(letter if letter.isalnum() else " " for letter in q)
    assert matching_ids(session, q) == matching_ids(session, plain)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=100))
@settings(max_examples=150, deadline=None)
def test_any_text(engine: sa.Engine, q: str) -> None:
    """Any text is accepted, and so is the cursor with its interpretation."""
    with Session(engine) as session:
        answer = page(session, q=q, limit=1)
        if answer["next_cursor"]:
            assert page(session, q=q, limit=1, cursor=answer["next_cursor"])["items"] != answer["items"]
        interpretation, _ = search.interpret(session, q)
        assert msgspec.convert(list(interpretation), search.Interpretation) == interpretation


@given(st.lists(st.sampled_from(["common", "hobbit", "tolkien", "the", "j", "one"]), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_walks(engine: sa.Engine, words: list[str]) -> None:
    """A search in pages of one book gives the same books in the same order as a single page."""
    with Session(engine) as session:
        whole, ids, cursor = matching_ids(session, " ".join(words)), list[int](), None
        for _ in range(20):
            answer = page(session, q=" ".join(words), limit=1, cursor=cursor)
            ids += [book["id"] for book in answer["items"]]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        assert ids == whole


def test_the_best_come_first(session: Session) -> None:
    """Titles rank above names, repeated words above single ones, short documents above long ones."""
    assert matching_ids(session, "tolkien")[0] == 3
    assert matching_ids(session, "common")[0] == 14
    assert matching_ids(session, "hobbit")[0] == 1
    assert matching_ids(session, "hobbit", sort="-relevance") == [2, 1]
    assert matching_ids(session, "hobbit", sort="-id") == [2, 1]


def test_common_words_are_not_ranked(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words in more than MAX_RANKED books allow only the order by id, and a list keeps it if the word becomes rare."""
    lowered = str(search._INTERPRET).replace(str(search.MAX_RANKED), "2")
    monkeypatch.setattr(search, "_INTERPRET", sa.text(lowered))
    assert search.interpret(session, "common")[0].is_common
    assert not search.interpret(session, "hobbit")[0].is_common
    assert matching_ids(session, "common") == [11, 12, 13, 14]
    assert matching_ids(session, "common", sort="-id") == [14, 13, 12, 11]
    with pytest.raises(ApiError, match="more words"):
        matching_ids(session, "common", sort="relevance,-title")
    assert matching_ids(session, "common one") == [11]
    first = page(session, q="common", limit=1)
    monkeypatch.undo()
    assert matching_ids(session, "common", limit=2, cursor=first["next_cursor"]) == [12, 13]


def test_new_words_do_not_change_a_running_list(session: Session) -> None:
    """A new book that contains the mistyped word does not change a list of similar words."""
    first = page(session, q="hobit", limit=1)
    session.execute(sa.text("INSERT INTO book (id, title) VALUES (99, 'Hobit')"))
    search.refresh_documents(session, [99])
    assert matching_ids(session, "hobit") == [99]
    rest = page(session, q="hobit", limit=5, cursor=first["next_cursor"])
    assert {book["id"] for book in first["items"] + rest["items"]} == {1, 2}


def test_refresh(session: Session) -> None:
    """After a change, new words are found and old ones are not."""
    session.execute(sa.text("UPDATE book SET title = 'Renamed' WHERE id = 4"))
    search.refresh_documents(session, [4])
    assert matching_ids(session, "renamed hugo") == [4]
    assert matching_ids(session, "miserables") == []
    session.execute(sa.text("DELETE FROM book WHERE id = 4"))
    assert matching_ids(session, "renamed") == []
