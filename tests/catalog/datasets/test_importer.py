"""Importing a file: atomic, idempotent, and with a correct report."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bookstore.catalog.datasets import import_file, importer, loader, sample_path
from bookstore.catalog.datasets.report import Report, format_lines
from bookstore.exceptions import ConfigurationError

Connection = psycopg.Connection[Any]
Contents = Callable[[], list[tuple[Any, ...]]]
CsvFile = Callable[..., Path]

HEADER = "title,authors,isbn13,publication_year,genres"


def total(connection: Connection, table: str) -> int:
    with connection.transaction():
        row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608 - a constant
    assert row is not None
    return int(row[0])


def is_balanced(report: Report) -> bool:
    return report.rows == report.imported + report.already_there + report.refused


def test_sample_is_imported_whole(connection: Connection) -> None:
    """All 10,000 real books are imported, authors are deduplicated, damage is reported. No ISBN: 700 books without one
    and 23 with a wrong check digit."""
    report = import_file(connection, sample_path())
    assert (report.rows, report.imported, report.refused) == (10_000, 10_000, 0)
    assert (report.authors, report.genres) == (total(connection, "author"), 53)
    assert total(connection, "(SELECT DISTINCT name FROM author) AS names") == report.authors
    assert total(connection, "(SELECT FROM book WHERE isbn13 IS NULL) AS without") == 700 + 23
    counts = {kind.reason: kind.count for kind in report.kinds}
    assert counts["damaged by a spreadsheet, computed from isbn"] > 9_000
    assert counts["leading zeros restored"] > 6_000
    assert all(len(line) <= 80 for line in format_lines(report) if not line.startswith(report.file))


def test_importing_twice_changes_nothing(connection: Connection, contents: Contents) -> None:
    """The second import of the same file inserts no rows and advances no identity column."""
    import_file(connection, sample_path())
    before = contents(), table_state(connection)
    report = import_file(connection, sample_path())
    assert (report.imported, report.already_there, report.authors, report.genres) == (0, 10_000, 0, 0)
    assert (contents(), table_state(connection)) == before


def table_state(connection: Connection) -> list[Any]:
    with connection.transaction():
        return connection.execute("""
            SELECT (SELECT array_agg(last_value ORDER BY sequencename) FROM pg_sequences),
                (SELECT md5(string_agg(book::text, ',' ORDER BY id)) FROM book),
                (SELECT md5(string_agg(author::text, ',' ORDER BY id)) FROM author),
                (SELECT md5(string_agg(link::text, ',' ORDER BY link::text)) FROM book_author AS link),
                (SELECT md5(string_agg(link::text, ',' ORDER BY link::text)) FROM book_genre AS link)
        """).fetchall()


def test_repeated_books_are_refused(connection: Connection, csv_file: CsvFile, contents: Contents) -> None:
    """A later row with the same ISBN, or without one the same title, year and authors, is refused with the number of
    the first row; another ISBN, year or order of authors is another book."""
    path = csv_file(
        HEADER,
        'Emma,"Jane Austen, Ann Bell",9780439023481,1815,',
        "Other,Bo,9780439023481,1900,",
        'Emma,"Jane Austen, Ann Bell",,1815,',
        'Emma,"Ann Bell, Jane Austen",,1815,',
        'Emma,"Jane Austen, Ann Bell",,1816,',
        'Emma,"Jane Austen, Ann Bell",,,',
        'Emma,"Jane Austen, Ann Bell",,1815,Novel',
    )
    report = import_file(connection, path)
    assert (report.imported, report.refused, is_balanced(report)) == (5, 2, True)
    assert [(example.row, example.found) for kind in report.kinds for example in kind.examples] == [
        (3, "9780439023481, as in row 2"),
        (8, "no ISBN, as in row 4"),
    ]
    assert len(contents()) == 5


def test_repetition_across_batches(connection: Connection, csv_file: CsvFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeated books name their first row and authors are not duplicated, however far apart the rows are."""
    monkeypatch.setattr(importer, "BATCH_ROWS", 1)
    path = csv_file(HEADER, "A,Ann,9780439023481,,X", "B,Ann,,,X", "C,Bo,9780439023481,,Y", "B,Ann,,,Y")
    report = import_file(connection, path)
    found = [example.found for kind in report.kinds for example in kind.examples]
    assert found == ["9780439023481, as in row 2", "no ISBN, as in row 3"]
    assert (total(connection, "author"), total(connection, "genre"), report.imported) == (1, 1, 2)


def test_refused_rows_do_not_stop_the_import(connection: Connection, csv_file: CsvFile) -> None:
    """Rows without a title or with too few fields are refused and reported; the others are imported."""
    rejects = io.BytesIO()
    path = csv_file(HEADER, "A,Ann,,,", ",Bo,,,", "C,Cy", "D,Di,9.78e+12,,")
    report = import_file(connection, path, rejects=rejects)
    assert (report.imported, report.refused, report.mended, is_balanced(report)) == (2, 2, 1, True)
    assert rejects.getvalue().decode().splitlines() == [
        "row,outcome,column,found,reason",
        "3,refused,title,,a book needs a title",
        "4,refused,row,2 fields,the header has 5",
        '5,mended,isbn13,9.78e+12,"damaged by a spreadsheet, dropped"',
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConfigurationError])
def test_an_interruption_leaves_nothing(
    connection: Connection,
    csv_file: CsvFile,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    """Ctrl-C or an error after some batches rolls back all of them, and the connection stays usable."""
    monkeypatch.setattr(importer, "BATCH_ROWS", 2)

    def interrupt(_ratio: float, books: int) -> None:
        if books >= 4:
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
            raise error

    path = csv_file(HEADER, *(f"Book {n},Ann,,{n}," for n in range(10)))
    with pytest.raises(error):
        import_file(connection, path, progress=interrupt)
    assert contents() == []
    assert import_file(connection, path).imported == 10


def test_an_error_late_in_the_file_leaves_nothing(
    connection: Connection, csv_file: CsvFile, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with an error after some batches imports nothing."""
    monkeypatch.setattr(importer, "BATCH_ROWS", 2)
    with pytest.raises(ConfigurationError, match=r"books.csv:7: a quote"):
        import_file(connection, csv_file(HEADER, *["A,Ann,,,"] * 5, '"B,Bo,,,'))
    assert contents() == []


def test_ids_continue_after_an_import(connection: Connection, csv_file: CsvFile) -> None:
    """Rows inserted after an import get new ids."""
    import_file(connection, csv_file(HEADER, "A,Ann,,,X", ",,,,", "B,Bo,,,Y"))
    with connection.transaction():
        ids = [
            connection.execute(statement).fetchone()
            for statement in (
                "INSERT INTO book (title) VALUES ('C') RETURNING id",
                "INSERT INTO author (name) VALUES ('Cy') RETURNING id",
                "INSERT INTO genre (name, slug) VALUES ('Z', 'z') RETURNING id",
            )
        ]
    assert ids == [(4,), (3,), (3,)]


def test_existing_names_are_reused(connection: Connection, csv_file: CsvFile, contents: Contents) -> None:
    """Existing authors and genres are linked, and of two authors with one name the one with the lower id."""
    with connection.transaction():
        connection.execute("INSERT INTO author (name) VALUES ('Ann Bell'), ('Ann Bell')")
        connection.execute("INSERT INTO genre (name, slug) VALUES ('X', 'shelf-x')")
    report = import_file(connection, csv_file(HEADER, 'A,"Ann Bell, Bo Cole",,,X; Y'))
    assert (report.authors, report.genres) == (1, 1)
    assert contents()[0][5:] == (["Ann Bell", "Bo Cole"], ["X", "Y"])
    assert total(connection, "(SELECT FROM book_author WHERE author_id = 1) AS oldest") == 1


def test_genres_with_like_slugs(connection: Connection, csv_file: CsvFile) -> None:
    """Genres whose names give the same slug get numbered slugs, also across imports."""
    import_file(connection, csv_file(HEADER, "A,Ann,,,C; C++"))
    import_file(connection, csv_file(HEADER, "B,Ann,,,C#; Научная фантастика", name="more.csv"))
    with connection.transaction():
        slugs = connection.execute("SELECT slug FROM genre ORDER BY id").fetchall()
    assert [slug for (slug,) in slugs][:3] == ["c", "c-2", "c-3"]
    assert slugs[3][0].startswith("genre-")


def test_special_characters_are_unchanged(connection: Connection, csv_file: CsvFile, contents: Contents) -> None:
    r"""Backslashes, `\Na`, `\.`, quotes and other scripts pass through COPY unchanged."""
    titles = [r"\Na", r"\.", r"C:\new\table", 'Say "no"', "كتاب", "Ещё", "😀"]
    path = csv_file(HEADER, *('"' + title.replace('"', '""') + '",Ann,,,' for title in titles))
    import_file(connection, path)
    assert [book[1] for book in contents()] == titles


def test_database_without_tables(blank_url: Any, csv_file: CsvFile) -> None:
    """The error for a database without tables names the command to run."""
    with (
        psycopg.connect(blank_url.render_as_string(hide_password=False)) as blank,
        pytest.raises(ConfigurationError, match=r"revision none, not .*bookstore db upgrade"),
    ):
        import_file(blank, csv_file(HEADER, "A,Ann,,,"))


def test_concurrent_writes_are_an_error(
    connection: Connection, database_url: str, csv_file: CsvFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import fails while another transaction has written to the tables or locked rows; readers do not matter."""
    monkeypatch.setattr(loader, "LOCK_TIMEOUT", "100ms")
    path = csv_file(HEADER, "A,Ann,,,")
    with psycopg.connect(database_url) as other:
        other.execute("SELECT count(*) FROM book")
        assert import_file(connection, path).imported == 1
        for statement in ("INSERT INTO genre (name, slug) VALUES ('X', 'x')", "SELECT FROM author FOR KEY SHARE"):
            other.rollback()
            other.execute(statement)
            with pytest.raises(ConfigurationError, match=r"another transaction has been writing"):
                import_file(connection, path)


def test_scans_can_be_index_only(connection: Connection) -> None:
    """After an import the planner has statistics and the visibility map is set."""
    import_file(connection, sample_path())
    with connection.transaction():
        rows = connection.execute(
            "SELECT relname, reltuples > 0, relallvisible = relpages FROM pg_class"
            " WHERE relname IN ('book', 'author', 'genre', 'book_author', 'book_genre', 'book_document', 'author_word',"
            " 'search_word')"
        ).fetchall()
    assert Counter(row[1:] for row in rows) == {(True, True): 8}


def test_progress_ends_at_one(connection: Connection, csv_file: CsvFile) -> None:
    """The last progress call has the whole file and its number of rows."""
    calls: list[tuple[float, int]] = []
    path: Path = csv_file(HEADER, "A,Ann,,,", "B,Bo,,,")
    import_file(connection, path, progress=lambda ratio, books: calls.append((ratio, books)))
    assert calls == [(1.0, 2)]


def test_imported_books_are_searchable(connection: Connection, csv_file: CsvFile) -> None:
    """Books have documents without accents; every word is in search_word, and those of names are in author_word."""
    path = csv_file("title,authors,isbn13", "Crème brûlée,Émile Ajar,", "Zwei,,9780439023481")
    for _ in range(2):  # the second time the books exist
        import_file(connection, path)
        rows = connection.execute("SELECT document::text FROM book_document ORDER BY book_id").fetchall()
        assert rows == [("'ajar':4B 'brulee':2A 'creme':1A 'emile':3B",), ("'zwei':1A",)]
        words = connection.execute("SELECT word FROM search_word ORDER BY word").fetchall()
        assert [word for (word,) in words] == ["ajar", "brulee", "creme", "emile", "zwei"]
        names = connection.execute("SELECT word FROM author_word ORDER BY word").fetchall()
        assert [word for (word,) in names] == ["ajar", "emile"]
