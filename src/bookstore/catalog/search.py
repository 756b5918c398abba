"""Full-text search: finds books, or authors, that contain all words, ranks them, and maintains what it searches.

The words of titles, names and queries come from one SQL function, `search_terms` of migration 0004.

A word that no book, or no name, contains is replaced by the most similar known words, compared by trigrams. A typing
error costs one lookup in the vocabulary, however many books there are.
"""

from __future__ import annotations

from typing import Annotated, Final, LiteralString, NamedTuple

import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.dialects.postgresql import TSQUERY, TSVECTOR
from sqlalchemy.orm import Session

from bookstore.catalog import models
from bookstore.catalog.models import Author, book_document

MAX_RANKED: Final = 5000
"""Books or authors. Words that more of them contain do not distinguish them, and ranking so many takes a second."""

MAX_SIMILAR_WORDS: Final = 4
"""Known words that can replace an unknown one."""


# Validates cursors, which clients can forge: `('word' | 'like') & ('ab' <2> 'cd' <1> 'de')`, with quotes and
# backslashes doubled.
_WORD: Final = r"'(?:[^'\\\x00]|''|\\\\){1,400}'"
_TERM: Final = rf"\({_WORD}(?: (?:\||<[12]>) {_WORD})*\)"
_TSQUERY: Final = rf"\A(?:{_TERM}(?: & {_TERM})*)?\Z"


class Interpretation(NamedTuple):
    """A search text as a tsquery. `is_common` is whether more than MAX_RANKED books, or authors, match."""

    query: Annotated[str, Meta(pattern=_TSQUERY)]
    is_common: bool


def _interpretation(vocabulary: str, searched: str) -> sa.TextClause:
    """Return the statement that interprets :text with the words of the table `vocabulary`.

    `searched` is a table with a condition on `query`. A part of a compound is also found in the compound: e-mail means
    (e | email) & (mail | email). Text without spaces means a phrase: every second pair of letters, and the last one.
    """
    return sa.text(rf"""
    WITH asked AS (SELECT *, count(*) OVER (PARTITION BY token) AS size FROM search_terms(:text)),
    words AS (
        SELECT word, compound, (
            SELECT array_agg(listed.word) FROM {vocabulary} AS listed WHERE listed.word IN (asked.word, asked.compound)
        ) AS known FROM asked WHERE NOT is_unspaced GROUP BY word, compound
    ),
    meant AS (
        SELECT words.word, compound, coalesce(likest.word, words.word) AS meant FROM words LEFT JOIN LATERAL (
            SELECT unnest(known) AS word
            UNION ALL (
                SELECT listed.word FROM {vocabulary} AS listed, spelling(words.word) AS spelled
                WHERE known IS NULL AND spelling(listed.word) % spelled
                AND abs(length(listed.word) - length(words.word)) <= 2
                AND (listed.word = spelling(listed.word)) = (words.word = spelled)
                ORDER BY similarity(spelling(listed.word), spelled) DESC, listed.word COLLATE "C"
                LIMIT {MAX_SIMILAR_WORDS}
            )
        ) AS likest ON true
    ),
    pairs AS (
        SELECT token, place, word, place - lag(place) OVER (PARTITION BY token ORDER BY place) AS distance FROM asked
        WHERE is_unspaced AND (place % 2 = 1 AND place < size OR place = size - 1 OR size = 1)
    ),
    terms AS (
        SELECT string_agg('''' || replace(replace(meant, '\', '\\'), '''', '''''') || '''', ' | ') AS term
        FROM meant GROUP BY word, compound
        UNION ALL
        SELECT string_agg(coalesce(' <' || distance || '> ', '') || '''' || word || '''', '' ORDER BY place)
        FROM pairs GROUP BY token
    ),
    whole AS (SELECT coalesce(string_agg('(' || term || ')', ' & '), '') AS query FROM terms)
    SELECT query, (
        SELECT count(*) > {MAX_RANKED}
        FROM (SELECT FROM {searched} LIMIT {MAX_RANKED} + 1) AS counted
    ), {models.STATE_SQL} FROM whole""")  # noqa: S608 - made of constants


_INTERPRET: Final = _interpretation("search_word", "book_document WHERE document @@ query::tsquery")
_INTERPRET_NAME: Final = _interpretation("author_word", "author WHERE search_words(name) @@ query::tsquery")

_DOCUMENT: Final = book_document.c.document
_QUERY: Final = sa.cast(sa.bindparam("query", type_=sa.Text), TSQUERY)


def interpret(session: Session, text: str) -> tuple[Interpretation, str]:
    """Return the query for `text` and the state of the database. A text without words matches no book."""
    return _interpret(session, _INTERPRET, text)


def interpret_name(session: Session, text: str) -> tuple[Interpretation, str]:
    """Return the query for the `text` of an author's name and the state of the database, as `interpret`."""
    return _interpret(session, _INTERPRET_NAME, text)


def _interpret(session: Session, statement: sa.TextClause, text: str) -> tuple[Interpretation, str]:
    query, is_common, state = session.execute(statement, {"text": text}).one()
    return Interpretation(query, is_common), state


def matches() -> sa.CTE:
    """Return (book_id, distance) of the books that match the parameter `query`; the best have the least distance.

    Ranks by number and proximity of the words, words of titles above words of names, short documents above long ones
    (ts_rank_cd, normalised by 1 + log of the length). Ranks all matches, so it is for queries that are not common; it
    is materialised so that PostgreSQL uses the full-text index.
    """
    rank = sa.func.ts_rank_cd(_DOCUMENT, _QUERY, 1)
    # Integers, because cursors store them exactly.
    distance = sa.cast(rank * sa.literal_column("-1e6"), sa.Integer).label("distance")
    ranked = sa.select(book_document.c.book_id, distance).where(_DOCUMENT.bool_op("@@")(_QUERY))
    return ranked.cte("matching").prefix_with("MATERIALIZED")


def document_matches() -> sa.ColumnElement[bool]:
    """Return the condition that a joined document matches the parameter `query`; for common queries."""
    return _DOCUMENT.bool_op("@@")(_QUERY)


_NAME_WORDS: Final = sa.func.search_words(Author.name, type_=TSVECTOR)


def name_matches(*, is_common: bool) -> sa.CTE:
    """Return (author_id, distance) of the authors whose names match the parameter `query`, as `matches`.

    Common names are not ranked. Materialised in both cases, so that PostgreSQL uses the index: a scan of all authors
    would have to parse their names.
    """
    rank = sa.literal_column("0") if is_common else sa.func.ts_rank_cd(_NAME_WORDS, _QUERY, 1)
    distance = sa.cast(rank * sa.literal_column("-1e6"), sa.Integer).label("distance")
    found = sa.select(Author.id.label("author_id"), distance).where(_NAME_WORDS.bool_op("@@")(_QUERY))
    return found.cte("matching").prefix_with("MATERIALIZED")


ADD_WORDS: Final[LiteralString] = """
    name_words AS (
        INSERT INTO author_word SELECT DISTINCT word FROM fresh, search_vocabulary(ts_filter(document, '{b}')) AS word
        ORDER BY word ON CONFLICT DO NOTHING
    )
    INSERT INTO search_word SELECT DISTINCT word FROM fresh, search_vocabulary(document) AS word
    ORDER BY word ON CONFLICT DO NOTHING"""
"""The end of a statement that adds the words of the documents in `fresh`. Those of names have the weight B."""

_REFRESH: Final = sa.text(f"""
    WITH fresh AS (
        INSERT INTO book_document (book_id, document)
        SELECT book.id, search_document(title, (
            SELECT string_agg(name, ' ' ORDER BY position)
            FROM book_author JOIN author ON author.id = author_id WHERE book_id = book.id
        )) FROM book WHERE book.id = ANY(:ids)
        ON CONFLICT (book_id) DO UPDATE SET document = excluded.document
        WHERE book_document.document IS DISTINCT FROM excluded.document
        RETURNING document
    ), {ADD_WORDS}""").bindparams(sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger)))  # noqa: S608 - made of constants


def refresh_documents(session: Session, book_ids: list[int]) -> None:
    """Rewrite the documents of these books after a change of their title, their authors or an author's name.

    An earlier statement of the same transaction must have inserted or locked the books. Otherwise, of two concurrent
    changes of a title and of a name, the later document would lack the earlier change.
    """
    session.execute(_REFRESH, {"ids": book_ids})


_ADD_NAME: Final = sa.text("""
    INSERT INTO author_word SELECT word FROM author, search_vocabulary(search_words(name)) AS word WHERE id = :id
    ORDER BY word ON CONFLICT DO NOTHING""")


def add_name(session: Session, author_id: int) -> None:
    """Add the words of an author's new name to the vocabulary of names."""
    session.execute(_ADD_NAME, {"id": author_id})
