"""SQL of a load. `base` is the last book id before the load minus one, so `base + row` is the id of a row's book."""

from __future__ import annotations

from typing import Final, LiteralString

from bookstore.catalog.search import ADD_WORDS

# Two books are the same if they have the same ISBN or, without one, the same title, year and authors in order. No name
# contains E'\x1f', and no digest is as short as an ISBN.
_KEY: Final[LiteralString] = """
    coalesce(isbn13, md5(
        title || E'\\x1f' || coalesce(publication_year::text, '') || E'\\x1f' || coalesce(authors, '')
    ))"""

PREPARE: Final[tuple[LiteralString, ...]] = (
    f"""CREATE TEMPORARY TABLE load_row (
        row bigint, title text, isbn13 text, publication_year smallint, language text,
        authors text, genres text, same_as bigint, key text GENERATED ALWAYS AS ({_KEY}) STORED
    ) ON COMMIT DROP""",
    "CREATE TEMPORARY TABLE load_credit (row bigint, position bigint, name text) ON COMMIT DROP",
    "CREATE TEMPORARY TABLE load_author (name text, id bigint, row bigint, position bigint) ON COMMIT DROP",
    "CREATE TEMPORARY TABLE load_without_isbn (key text PRIMARY KEY, book_id bigint) ON COMMIT DROP",
    f"""INSERT INTO load_without_isbn
    SELECT {_KEY}, min(id) FROM (
        SELECT id, isbn13, title, publication_year, (
            SELECT string_agg(author.name, E'\\x1f' ORDER BY position)
            FROM book_author JOIN author ON author.id = author_id WHERE book_id = book.id
        ) AS authors FROM book WHERE isbn13 IS NULL
    ) AS without_isbn GROUP BY 1""",  # noqa: S608 - made of constants
)

COPY: Final[LiteralString] = """
    COPY load_row (row, title, isbn13, publication_year, language, authors, genres)
    FROM STDIN WITH (NULL '')"""

# One index lookup per row: a join would read the whole table for every batch.
KNOWN_BY_ISBN: Final[LiteralString] = """
    UPDATE load_row SET same_as = known.id
    FROM (
        SELECT row, (SELECT id FROM book WHERE book.isbn13 = load_row.isbn13) AS id
        FROM load_row WHERE isbn13 IS NOT NULL
    ) AS known
    WHERE known.id IS NOT NULL AND known.row = load_row.row"""

KNOWN_WITHOUT_ISBN: Final[LiteralString] = (
    "UPDATE load_row SET same_as = book_id FROM load_without_isbn AS known"
    " WHERE isbn13 IS NULL AND known.key = load_row.key"
)

REPEATED_IN_BATCH: Final[LiteralString] = """
    UPDATE load_row SET same_as = %(base)s + first.row
    FROM (SELECT key, min(row) AS row FROM load_row GROUP BY key HAVING count(*) > 1) AS first
    WHERE same_as IS NULL AND load_row.key = first.key AND load_row.row > first.row"""

REPEATED: Final[LiteralString] = (
    "SELECT row, isbn13, same_as - %(base)s FROM load_row WHERE same_as IS NOT NULL ORDER BY row"
)

ADD_BOOKS: Final[LiteralString] = """
    INSERT INTO book (id, title, isbn13, publication_year, language)
    SELECT %(base)s + row, title, isbn13, publication_year, language
    FROM load_row WHERE same_as IS NULL ORDER BY row"""

REMEMBER_WITHOUT_ISBN: Final[LiteralString] = """
    INSERT INTO load_without_isbn SELECT key, %(base)s + row FROM load_row
    WHERE same_as IS NULL AND isbn13 IS NULL"""

CREDITS: Final[LiteralString] = """
    INSERT INTO load_credit SELECT row, part.position, part.name
    FROM load_row, unnest(string_to_array(authors, E'\\x1f')) WITH ORDINALITY AS part (name, position)
    WHERE same_as IS NULL"""

# Two authors may share a name, which a file cannot distinguish. The author with the lowest id is used.
BATCH_AUTHORS: Final[LiteralString] = """
    INSERT INTO load_author (name, id, row, position)
    SELECT name, min(author.id), batch.row, batch.position
    FROM (
        SELECT DISTINCT ON (name) name, row, position FROM load_credit ORDER BY name, row, position
    ) AS batch LEFT JOIN author USING (name) GROUP BY name, batch.row, batch.position"""

ADD_AUTHORS: Final[LiteralString] = """
    WITH new AS (
        UPDATE load_author SET id = numbered.id
        FROM (
            SELECT name, %(last)s + row_number() OVER (ORDER BY row, position) AS id
            FROM load_author WHERE id IS NULL
        ) AS numbered WHERE numbered.name = load_author.name
        RETURNING load_author.id, load_author.name
    )
    INSERT INTO author (id, name) SELECT id, name FROM new ORDER BY id"""

ADD_BOOK_AUTHORS: Final[LiteralString] = """
    INSERT INTO book_author (book_id, position, author_id)
    SELECT %(base)s + credit.row, credit.position - 1, author.id
    FROM load_credit AS credit JOIN load_author AS author USING (name)
    ORDER BY credit.row, credit.position"""

NEW_GENRES: Final[LiteralString] = """
    SELECT part.name
    FROM load_row, unnest(string_to_array(genres, E'\\x1f')) WITH ORDINALITY AS part (name, position)
    WHERE same_as IS NULL AND NOT EXISTS (SELECT FROM genre WHERE genre.name = part.name)
    GROUP BY part.name ORDER BY min(ARRAY[row, position])"""

LAST_ID: Final[LiteralString] = """
    SELECT greatest(max(id), pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id')::regclass), 0)
    FROM {table}"""

SET_LAST_ID: Final[LiteralString] = """
    SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}
    HAVING max(id) > %(before)s"""

LIKE_SLUGS: Final[LiteralString] = """
    SELECT slug FROM genre, unnest(%s::text[]) AS wanted
    WHERE slug = wanted
    OR (starts_with(slug, wanted || '-') AND substr(slug, length(wanted) + 2) ~ '^[0-9]+$')"""

ADD_GENRE: Final[LiteralString] = "INSERT INTO genre (id, name, slug) VALUES (%(id)s, %(name)s, %(slug)s)"

ADD_BOOK_GENRES: Final[LiteralString] = """
    INSERT INTO book_genre (book_id, genre_id)
    SELECT %(base)s + row, genre.id
    FROM load_row, unnest(string_to_array(genres, E'\\x1f')) AS part (name)
    JOIN genre ON genre.name = part.name
    WHERE same_as IS NULL ORDER BY row, genre.id"""

# Same documents as search.refresh_documents writes; here the names come from the row.
ADD_DOCUMENTS: Final[LiteralString] = f"""
    WITH fresh AS (
        INSERT INTO book_document (book_id, document)
        SELECT %(base)s + row, search_document(title, replace(authors, E'\\x1f', ' '))
        FROM load_row WHERE same_as IS NULL ORDER BY row
        RETURNING document
    ), {ADD_WORDS}"""  # noqa: S608 - made of constants
