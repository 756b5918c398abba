"""Exports the catalogue as CSV with the columns of the import. PostgreSQL writes the rows."""

from __future__ import annotations

from typing import BinaryIO, Final

from bookstore.catalog.csv_cells import AUTHOR_SEPARATOR, GENRE_SEPARATOR, escape_sql, protect_sql
from bookstore.catalog.datasets.loader import Connection, check_migrated

COLUMNS: Final = ("isbn13", "authors", "original_publication_year", "title", "language_code", "genres")
"""The header. `import_file` knows an exported file by it."""

_AUTHOR: Final = escape_sql("author.name", AUTHOR_SEPARATOR)
_GENRE: Final = escape_sql("genre.name", GENRE_SEPARATOR)

# One index lookup per book instead of hash joins: the first line is immediate, and memory use is constant.
_COPY: Final = f"""
    COPY (
        SELECT isbn13, {protect_sql("authors.names")} AS authors, publication_year AS original_publication_year,
            {protect_sql("title")} AS title, language AS language_code, {protect_sql("genres.names")} AS genres
        FROM book
        LEFT JOIN LATERAL (
            SELECT string_agg({_AUTHOR}, '{AUTHOR_SEPARATOR} ' ORDER BY position)
            FROM book_author JOIN author ON author.id = author_id WHERE book_id = book.id
        ) AS authors (names) ON true
        LEFT JOIN LATERAL (
            SELECT string_agg({_GENRE}, '{GENRE_SEPARATOR} ' ORDER BY genre.id)
            FROM book_genre JOIN genre ON genre.id = genre_id WHERE book_id = book.id
        ) AS genres (names) ON true
        ORDER BY book.id
    ) TO STDOUT WITH (FORMAT csv, HEADER)
"""  # noqa: S608 - made of constants


def export(connection: Connection, file: BinaryIO) -> int:
    """Write all books to `file` in UTF-8, in the order of their ids, and return their number.

    `import_file` restores the same catalogue: separators within names are escaped with a backslash, and texts that
    begin like a formula get an apostrophe.
    """
    check_migrated(connection)
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(_COPY.encode()) as copy:
            file.writelines(copy)
        return cursor.rowcount
