"""Search: words -> the books that have them all, best first; and the documents that are searched.

A word that no book has stands for the likest words that books do have, by their trigrams: a typing error
costs one look into the vocabulary, however many books there are.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Final, NamedTuple

import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import Session

from bookstore.catalog import models
from bookstore.catalog.models import book_document

MAX_RANKED: Final = 5000
"""Books. Words that more of them have tell no book from another, and ranking those would take a second."""

MAX_SIMILAR_WORDS: Final = 4
"""How many words a mistyped one may stand for."""


# Checked in cursors, which anybody can write: `('word' | 'like') & ('other')`, a quote and a backslash doubled.
_WORD: Final = r"'(?:[^'\\\x00]|''|\\\\){1,400}'"
_TERM: Final = rf"\({_WORD}(?: \| {_WORD})*\)"
_TSQUERY: Final = rf"\A(?:{_TERM}(?: & {_TERM})*)?\Z"


class Interpretation(NamedTuple):
    """`query` is a tsquery; `is_common` says that more than MOST_RANKED books match it."""

    query: Annotated[str, Meta(pattern=_TSQUERY)]
    is_common: bool


_INTERPRET: Final = sa.text(rf"""
    WITH asked AS (SELECT unnest(tsvector_to_array(search_words(:text))) AS word),
    known AS (SELECT asked.word, search_word.word AS meant FROM asked LEFT JOIN search_word USING (word)),
    meant AS (
        SELECT known.word, coalesce(known.meant, likest.word, known.word) AS meant FROM known LEFT JOIN LATERAL (
            SELECT search_word.word FROM search_word WHERE known.meant IS NULL AND search_word.word % known.word
            AND abs(length(search_word.word) - length(known.word)) <= 2
            ORDER BY similarity(search_word.word, known.word) DESC, search_word.word LIMIT {MAX_SIMILAR_WORDS}
        ) AS likest ON true
    ),
    terms AS (
        SELECT string_agg('''' || replace(replace(meant, '\', '\\'), '''', '''''') || '''', ' | ') AS term
        FROM meant GROUP BY word
    ),
    whole AS (SELECT coalesce(string_agg('(' || term || ')', ' & '), '') AS query FROM terms)
    SELECT query, (
        SELECT count(*) > {MAX_RANKED}
        FROM (SELECT FROM book_document WHERE document @@ query::tsquery LIMIT {MAX_RANKED} + 1) AS counted
    ), {models.STATE_SQL} FROM whole""")  # noqa: S608 - made of constants

_DOCUMENT: Final = book_document.c.document
_QUERY: Final = sa.cast(sa.bindparam("query", type_=sa.Text), TSQUERY)


def interpret(session: Session, text: str) -> tuple[Interpretation, str]:
    """What `text` asks for, and the state of the vocabulary. A text without any word matches no book."""
    composed = unicodedata.normalize("NFC", text)  # as the catalogue is: an accent of its own ends a word
    query, is_common, state = session.execute(_INTERPRET, {"text": composed}).one()
    return Interpretation(query, is_common), state


def matches() -> sa.CTE:
    """(book_id, distance) of the books that match the parameter `query`; the best have the least distance.

    The words' number and nearness count, those of the title more than those of names, and short documents
    more than long ones (ts_rank_cd, normalised by 1 + log of the length). For a query that is not common:
    all its matches are ranked, in a step of their own that only the index of words can serve.
    """
    rank = sa.func.ts_rank_cd(_DOCUMENT, _QUERY, 1)
    # Whole numbers: cursors hold them exactly.
    distance = sa.cast(rank * sa.literal_column("-1e6"), sa.Integer).label("distance")
    found = sa.select(book_document.c.book_id, distance).where(_DOCUMENT.bool_op("@@")(_QUERY))
    return found.cte("matching").prefix_with("MATERIALIZED")


def document_matches() -> sa.ColumnElement[bool]:
    """Whether a joined document matches the parameter `query`, which is common."""
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
    INSERT INTO search_word SELECT DISTINCT unnest(tsvector_to_array(document)) AS word FROM fresh
    ORDER BY word ON CONFLICT DO NOTHING""").bindparams(sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger)))


def refresh_documents(session: Session, book_ids: list[int]) -> None:
    """Writes the documents of these books anew, after their title, authors or an author's name changed.

    This transaction has made or locked the books, with a statement before: else one who changes the title and
    one who changes a name would each write what they know, and the last one what was before the other.
    """
    session.execute(_REFRESH, {"ids": book_ids})
