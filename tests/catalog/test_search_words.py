"""The words of search and the keys of text orders: which they are, and that no locale of a server changes them."""

from __future__ import annotations

# ruff: noqa: RUF001 - letters that look alike are the subject
import itertools
import os
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy.orm import Session

from bookstore.catalog import search
from bookstore.database import migrations
from bookstore.database.url import conninfo

Connection = psycopg.Connection[Any]

LOCALES = {
    "libc C": "LOCALE_PROVIDER libc LOCALE 'C'",
    "libc C.UTF-8": "LOCALE_PROVIDER libc LOCALE 'C.UTF-8'",
    "libc en_US": "LOCALE_PROVIDER libc LOCALE 'en_US.UTF-8'",
    "libc tr_TR": "LOCALE_PROVIDER libc LOCALE 'tr_TR.UTF-8'",
    "builtin C": "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C' LOCALE 'C'",
    "builtin C.UTF-8": "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'",
    "builtin C.UTF-8, libc C.UTF-8": "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C.UTF-8'",
    "ICU und": "LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C'",
    "ICU tr": "LOCALE_PROVIDER icu ICU_LOCALE 'tr' LOCALE 'C.UTF-8'",
}

# A title and the words that are stored for it.
WORDS = {
    "Ender’s Game": "ender enders game s",
    "Europe 1914–1918": "1914 1918 europe",
    "‘Tis “quoted” «text» „so“ ‹or›": "or quoted so text tis",
    "wait…what—yes / no": "no wait what yes",
    "O'Brien OʼBrien O´Brien O＇Brien O‛Brien": "brien o obrien",
    "Hawaiʻi Qurʾan": "an hawai hawaii i qur quran",
    "e-mail e‐mail e‑mail e−mail": "e email mail",
    "Catch-22": "22 catch catch22",
    "1.5 9-11": "1 11 5 9",  # numbers are no parts of a longer one
    "J.R.R. Tolkien": "j jrr r tolkien",
    "Col·legi": "col collegi legi",
    "Ｆｕｌｌ ｗｉｄｔｈ　１９８４": "1984 full width",
    "𝐁𝐨𝐥𝐝 Ⓒircle": "bold circle",
    "Cafe\u0301 Café CAFÉ": "cafe",
    "Straße STRASSE STRAẞE": "strasse",
    "ISTANBUL İstanbul ıstanbul istanbul": "istanbul",
    "ﬁn ﬀ ŉ Ǆ": "dz ff fin n",
    "x² H₂O": "h2o x2",
    "Ⅷ ⅷ": "viii",
    "10½ ①② №5 ㎏": "1 10 2 5 kg no",
    "Ær Ørsted Œuvre Þing Łódź Đorđe ŋ": "aer dorde lodz n oeuvre orsted thing",
    "ΣΊΣΥΦΟΣ Σίσυφος": "σισυφοσ",
    "ВОЙНА Ёж Їжак": "воина еж іжак",
    "Հայաստան ᲗᲑᲘᲚᲘᲡᲘ თბილისი": "թայաստան".replace("թ", "հ") + " თბილისი",
    "أُحِبُّ كـتاب ١٩٨٤": "1984 احب كتاب",
    "שָׁלוֹם צה״ל": "ל צה צהל שלום",
    "हिन्दी १२": "12 हिन्दी",
    "zero\u200bwidth so\u00adft no\u2060break \ufeffmark": "mark nobreak soft zerowidth",
    "I ❤️ NY 👩‍👩‍👧 1️⃣ Word™ C++ 100%": "1 100 c i ny word",
    "東京都": "京 京都 東 東京 都",
    "ABC殺人事件": "abc 事 事件 人 人事 件 殺 殺人",
    "ﾊﾞﾅﾅ・バナナ": "ナ ナナ ナバ バ バナ",
    "ก้า ๒๕": "25 ก ก้ า ้ ้า",
    "「東京」、大阪。0.㐀 ’東": "0 㐀 京 大 大阪 東 東京 阪",
    "!?… – 🙂": "",
}  # fmt: skip


def words(connection: Connection, *texts: str) -> list[str]:
    """Return the words of each text in the order of their code points, with spaces between them."""
    rows = connection.execute(
        "SELECT array_to_string(tsvector_to_array(search_words(text)), ' ')"
        " FROM unnest(%s::text[]) WITH ORDINALITY AS asked (text, place) ORDER BY place",
        [list(texts)],
    ).fetchall()
    return [" ".join(sorted(found.split())) for (found,) in rows]


@contextmanager
def database(server_url: sa.URL, locale: str) -> Iterator[sa.URL]:
    """A migrated database with this locale. Skips the test if the server does not have it."""
    name = f"bookstore_test_{os.getpid()}_words"
    with psycopg.connect(conninfo(server_url), autocommit=True) as server:
        identifier = sql.Identifier(name)
        try:
            server.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' ").format(identifier) + sql.SQL(locale)
            )
        except psycopg.Error as error:
            pytest.skip(str(error).splitlines()[0])
        try:
            url = server_url.set(drivername="postgresql+psycopg", database=name)
            migrations.upgrade(url)
            yield url
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


@pytest.fixture(scope="module")
def connection(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[Connection]:
    with own_database() as url, psycopg.connect(conninfo(url), autocommit=True) as opened:
        yield opened


@pytest.mark.parametrize(("title", "stored"), WORDS.items())
def test_words(connection: Connection, title: str, stored: str) -> None:
    """Typography, width, case and accents do not matter, in any script; symbols separate words."""
    assert words(connection, title) == [" ".join(sorted(stored.split()))]


@pytest.mark.parametrize("locale", LOCALES)
def test_every_locale(server_url: sa.URL, connection: Connection, locale: str) -> None:
    """A database of any locale has the same words, the same sort keys and the same replacements of mistyped words."""
    titles = [*WORDS, *map(str.upper, WORDS), *map(str.lower, WORDS)]
    keys = "SELECT sort_key(title) FROM unnest(%s::text[]) WITH ORDINALITY AS t (title, place) ORDER BY place"
    with database(server_url, LOCALES[locale]) as url:
        with psycopg.connect(conninfo(url), autocommit=True) as other:
            assert words(other, *titles) == words(connection, *titles)
            assert other.execute(keys, [titles]).fetchall() == connection.execute(keys, [titles]).fetchall()
        engine = sa.create_engine(url)
        with Session(engine) as session:
            for title in ("Война и мир", "Ender’s Game", "Σίσυφος", "ノルウェイの森"):
                session.execute(sa.text("INSERT INTO book (title) VALUES (:title)"), {"title": title})
            search.refresh_documents(session, [1, 2, 3, 4])
            for mistyped, query in {
                "ВАЙНА": "('воина')",
                "enderr": "('ender' | 'enders')",
                "σισιφος": "('σισυφοσ')",
                "qqqqq": "('qqqqq')",
                "ノルエイ": "('ノル' <2> 'エイ')",
            }.items():
                assert search.interpret(session, mistyped)[0].query == query
        engine.dispose()


@given(st.text("aé0 '.-・、㐀ナ’\u200b", max_size=12))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_words_are_stored_as_they_are(connection: Connection, text: str) -> None:
    """Every word that a query would ask for is stored, and no word contains a separator."""
    terms = connection.execute("SELECT word, compound FROM search_terms(%s)", [text]).fetchall()
    asked = {word for term in terms for word in term if word}
    assert asked <= set(words(connection, text)[0].split())
    assert not set("".join(asked)) & set(" '.-・、’\u200b")


@given(st.lists(st.text("aeEIiz019 ,:;()#!?.", max_size=110), min_size=1, max_size=20))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_short_ascii_has_no_words_of_its_own(connection: Connection, texts: list[str]) -> None:
    """The short way for plain ASCII makes the same words as the long way."""
    differing = connection.execute(
        "SELECT text FROM unnest(%s::text[]) AS text WHERE search_words(text) <> search_words_of_terms(text)", [texts]
    ).fetchall()
    assert differing == []


def test_every_character(connection: Connection) -> None:
    """Letters, marks and digits join their neighbours; punctuation, symbols and spaces separate them."""
    letters = [
        chr(code)
        for code in itertools.chain(range(0x80, 0x3400), range(0xA000, 0xAC00), range(0xD800, 0x20000))
        if unicodedata.category(chr(code)) not in {"Cn", "Cs", "Co", "Cf"}
        and unicodedata.normalize("NFKD", chr(code)) == chr(code)
    ]
    joiners = set("ʹʺʻʼʽʾʿ՚׳״‘’‚‛′‹›֊־‐‒–−·・")  # a compound of letters on both sides
    found = connection.execute(
        "SELECT array_agg(search_tokens('a' || letter || 'b') ORDER BY place)"
        " FROM unnest(%s::text[]) WITH ORDINALITY AS asked (letter, place)",
        [letters],
    ).fetchone()
    assert found
    apart = {
        letter
        for (letter,) in connection.execute(
            "SELECT letter FROM unnest(%s::text[]) AS letter, search_terms(letter) WHERE is_unspaced", [letters]
        )
    }
    wrong = []
    for letter, tokens in zip(letters, found[0], strict=True):
        separates = unicodedata.category(letter)[0] in "PSZC"
        if letter not in joiners and (" " in tokens) != (separates or letter in apart):
            wrong.append(f"{ord(letter):X} {unicodedata.name(letter, '')} {tokens}")
    assert not wrong


def test_case_of_every_letter(connection: Connection) -> None:
    """A capital and its small letter are one letter."""
    pairs = [
        (chr(code), chr(code).casefold())
        for code in range(0x80, 0x20000)
        if chr(code).casefold() != chr(code)
        and unicodedata.category(chr(code))[0] == "L"
        and len(unicodedata.normalize("NFKC", chr(code).casefold())) == 1  # not ᾀ, whose iota is an accent here
    ]
    wrong = connection.execute(
        "SELECT letter, small FROM unnest(%s::text[], %s::text[]) AS pair (letter, small)"
        " WHERE search_words(letter) <> search_words(small)",
        [[letter for letter, _ in pairs], [small for _, small in pairs]],
    ).fetchall()
    assert wrong == []


def test_longest_texts(connection: Connection) -> None:
    """No title and no names are too long for a document or a sort key, whatever they consist of."""
    han = "".join(chr(0x20000 + number) for number in range(30_000))
    for text in ("\ufdfa" * 1000, "㍿" * 1000, "a" * 1000, "a-" * 500, "'\\" * 500, han[:1000]):
        connection.execute("INSERT INTO book (title) VALUES (%s)", [text])
        connection.execute("SELECT search_document(%s, %s)", [text, han])
        connection.execute("SELECT search_document(%s, %s)", [text, " ".join(han)])
        assert connection.execute("SELECT search_tokens(%s) <> ''", [text]).fetchone() == (text[0] != "'",)
