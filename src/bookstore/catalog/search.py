"""Full-text search: finds the books that contain all words, ranks them, and maintains the search documents.

The words of titles, names and queries come from one SQL function, `search_terms` of migration 0004.

A word that no book contains is replaced by the most similar known words, compared by trigrams. A typing error costs
one lookup in the vocabulary, however many books there are.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import Session

from bookstore.catalog import models
from bookstore.catalog.models import book_document

MAX_RANKED: Final = 5000
"""Books. Words that more books contain do not distinguish books, and ranking so many takes a second."""

MAX_SIMILAR_WORDS: Final = 4
"""Known words that can replace an unknown one."""


# Validates cursors, which clients can forge: `('word' | 'like') & ('ab' <2> 'cd' <1> 'de')`, with quotes and
# backslashes doubled.
_WORD: Final = r"'(?:[^'\\\x00]|''|\\\\){1,400}'"
_TERM: Final = rf"\({_WORD}(?: (?:\||<[12]>) {_WORD})*\)"
_TSQUERY: Final = rf"\A(?:{_TERM}(?: & {_TERM})*)?\Z"


class Interpretation(NamedTuple):
    """A search text as a tsquery. `is_common` is whether more than MAX_RANKED books match."""

    query: Annotated[str, Meta(pattern=_TSQUERY)]
    is_common: bool


# A part of a compound is also found in the compound: e-mail means (e | email) & (mail | email). Text without spaces
# means a phrase: every second pair of letters, and the last one.
_INTERPRET: Final = sa.text(rf"""
    WITH asked AS (SELECT *, count(*) OVER (PARTITION BY token) AS size FROM search_terms(:text)),
    words AS (
        SELECT word, compound, (
            SELECT array_agg(search_word.word) FROM search_word WHERE search_word.word IN (asked.word, asked.compound)
        ) AS known FROM asked WHERE NOT is_unspaced GROUP BY word, compound
    ),
    meant AS (
        SELECT words.word, compound, coalesce(likest.word, words.word) AS meant FROM words LEFT JOIN LATERAL (
            SELECT unnest(known) AS word
            UNION ALL (
                SELECT search_word.word FROM search_word, spelling(words.word) AS spelled
                WHERE known IS NULL AND spelling(search_word.word) % spelled
                AND abs(length(search_word.word) - length(words.word)) <= 2
                AND (search_word.word = spelling(search_word.word)) = (words.word = spelled)
                ORDER BY similarity(spelling(search_word.word), spelled) DESC, search_word.word COLLATE "C"
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
        FROM (SELECT FROM book_document WHERE document @@ query::tsquery LIMIT {MAX_RANKED} + 1) AS counted
    ), {models.STATE_SQL} FROM whole""")  # noqa: S608 - made of constants

_DOCUMENT: Final = book_document.c.document
_QUERY: Final = sa.cast(sa.bindparam("query", type_=sa.Text), TSQUERY)


def interpret(session: Session, text: str) -> tuple[Interpretation, str]:
    """Return the query for `text` and the state of the database. A text without words matches no book."""
    query, is_common, state = session.execute(_INTERPRET, {"text": text}).one()
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


_REFRESH: Final = sa.text("""
    WITH fresh AS (
        INSERT INTO book_document (book_id, document)
        SELECT book.id, search_document(title, (
            SELECT string_agg(name, ' ' ORDER BY position)
            FROM book_author JOIN author ON author.id = author_id WHERE book_id = book.id
        )) FROM book WHERE book.id = ANY(:ids)
        ON CONFLICT (book_id) DO UPDATE SET document = excluded.document
        WHERE book_document.document IS DISTINCT FROM excluded.document
        RETURNING document
    )
    INSERT INTO search_word SELECT DISTINCT word FROM fresh, search_vocabulary(document) AS word
    ORDER BY word ON CONFLICT DO NOTHING""").bindparams(sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger)))


def refresh_documents(session: Session, book_ids: list[int]) -> None:
    """Rewrite the documents of these books after a change of their title, their authors or an author's name.

    An earlier statement of the same transaction must have inserted or locked the books. Otherwise, of two concurrent
    changes of a title and of a name, the later document would lack the earlier change.
    """
    session.execute(_REFRESH, {"ids": book_ids})
