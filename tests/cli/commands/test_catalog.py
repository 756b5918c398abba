"""`bookstore catalog`: output on stdout, and errors before anything starts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from bookstore.cli.commands.catalog import catalog
from bookstore.exceptions import ConfigurationError

BOOKS = "title,authors,isbn13\nA,Ann,9780439023481\nB,Bo,9.78e+12\n,Cy,\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "books.csv"
    path.write_text(BOOKS)
    return path


@pytest.fixture(autouse=True)
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point the commands to the test's own database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return database_url


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(catalog, [str(argument) for argument in arguments])
    if isinstance(result.exception, ConfigurationError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def count_books(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM book").fetchone()
    assert row is not None
    return int(row[0])


def test_report_as_json(file: Path) -> None:
    """--json prints only the report on stdout."""
    report = json.loads(run("import", file, "--json").stdout)
    counts = {key: report[key] for key in ("rows", "imported", "already_there", "refused", "mended")}
    assert counts == {"rows": 3, "imported": 2, "already_there": 0, "refused": 1, "mended": 1}
    assert report["kinds"][0] == {
        "outcome": "refused",
        "column": "title",
        "reason": "a book needs a title",
        "count": 1,
        "examples": [{"row": 4, "found": ""}],
    }


def test_without_file_the_sample_is_announced() -> None:
    """Without FILE, the shipped sample is imported, and stderr says so."""
    result = run("import", "--json")
    assert "importing the shipped sample, goodbooks-10k.csv.gz" in result.stderr
    assert json.loads(result.stdout)["imported"] == 10_000


def test_existing_rejects_file_is_not_overwritten(file: Path, tmp_path: Path, database: str) -> None:
    """An existing --rejects file is an error before any book is read; --force replaces it."""
    rejects = tmp_path / "rejects.csv"
    rejects.write_text("mine")
    with pytest.raises(ConfigurationError, match=r"rejects.csv: already exists; .*--force"):
        run("import", file, "--rejects", rejects)
    assert (rejects.read_text(), count_books(database)) == ("mine", 0)
    run("import", file, "--rejects", rejects, "--force")
    assert rejects.read_text().splitlines()[1:] == [
        '3,mended,isbn13,9.78e+12,"damaged by a spreadsheet, dropped"',
        "4,refused,title,,a book needs a title",
    ]


def test_rejects_never_overwrite_the_source(file: Path) -> None:
    """--rejects never overwrites the imported file, not even with --force."""
    with pytest.raises(ConfigurationError, match="is the file to import"):
        run("import", file, "--rejects", file, "--force")
    assert file.read_text() == BOOKS


def test_failed_import_leaves_no_rejects(file: Path, tmp_path: Path) -> None:
    """A failed import leaves no rejects file, not even a partial one."""
    file.write_bytes(b"title,authors\nA\xff,Ann\n")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        run("import", file, "--rejects", tmp_path / "rejects.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["books.csv"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["title"], "allowed is OURS=THEIRS"),
        (["title="], "name the column"),
        (["title=A", "title=B"], "given twice"),
        (["a=title"], "known are"),
    ],
)
def test_column_option(file: Path, texts: list[str], message: str) -> None:
    """--column accepts OURS=THEIRS, once for each of our columns."""
    options = [part for text in texts for part in ("--column", text)]
    with pytest.raises(ConfigurationError, match=message):
        run("import", file, *options)


def test_format_is_printed_before_anything_is_written(tmp_path: Path, database: str) -> None:
    """The format of the authors, its evidence and examples are on stderr; books have their names in order."""
    path = tmp_path / "books.csv"
    path.write_text('sep=;\nTitle;Author\nGood Omens;"Gaiman, Neil & Pratchett, Terry"\nHobbit;"Tolkien, J.R.R."\n')
    lines = run("import", path).stderr.splitlines()
    assert lines == [
        "file: delimiter ';', header in row 2",
        "authors: separated by ' & ', last name first",
        "  3 of 3 names that tell an order are last-first",
        "  between names: ' & ' (rows: 1)",
        "  Gaiman, Neil & Pratchett, Terry → Neil Gaiman | Terry Pratchett",
        "  Tolkien, J.R.R. → J.R.R. Tolkien",
    ]
    with psycopg.connect(database) as connection:
        names = connection.execute("SELECT name FROM author ORDER BY id").fetchall()
    assert [name for (name,) in names] == ["Neil Gaiman", "Terry Pratchett", "J.R.R. Tolkien"]


def test_ambiguous_authors_are_refused(tmp_path: Path, database: str) -> None:
    """An ambiguous column exits before anything is written, and the named options import it."""
    path = tmp_path / "books.csv"
    path.write_text('title,authors\nEmma,"Austen, Jane"\n')
    with pytest.raises(ConfigurationError, match="--author-order last-first or --author-order first-last"):
        run("import", path)
    assert count_books(database) == 0
    result = run("import", path, "--author-order", "last-first", "--author-separator", ";")
    assert "Austen, Jane → Jane Austen" in result.stderr


def test_dry_run_needs_no_database(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--dry-run reads the whole file, reports it and writes only the rejects, without connecting."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone@127.0.0.1:1/nowhere")
    result = run("import", file, "--dry-run", "--rejects", tmp_path / "rejects.csv")
    assert "readable               2   (dry run: nothing was written)" in result.stdout
    assert (tmp_path / "rejects.csv").read_text().count("\n") == 3
    report = json.loads(run("import", file, "--dry-run", "--json").stdout)
    assert (report["dry_run"], report["rows"], report["imported"], report["refused"]) == (True, 3, 0, 1)


def test_unread_columns_are_listed_whole(tmp_path: Path) -> None:
    """Every column that is not read is listed, on as many lines as they need."""
    path = tmp_path / "books.csv"
    names = [f"Number of column {number}" for number in range(20)]
    path.write_text(f"title,authors,{','.join(names)}\n")
    output = run("import", path, "--dry-run").stdout
    listed = output.partition("columns not read: ")[2].replace("\n ", "")
    assert [name.strip() for name in listed.split(",")] == names
    assert max(map(len, output.splitlines()[1:])) <= 80


def test_file_options(tmp_path: Path) -> None:
    """--delimiter, --encoding and --column say what cannot be recognised."""
    path = tmp_path / "books.csv"
    path.write_bytes("Name^Writer^Other Writers^Langauge\nCafé^Ann Bell^Bo Cole, Cy Dee^eng\n".encode("cp1252"))
    options = ("--delimiter", "^", "--encoding", "windows-1252", "--column", "title=Name", "--column", "language=")
    result = run("import", path, *options, "--column", "authors=Writer+Other Writers", "--dry-run", "--json")
    assert json.loads(result.stdout)["unread_columns"] == ["Langauge"]
    assert "Bo Cole, Cy Dee → Bo Cole | Cy Dee" in result.stderr
    with pytest.raises(ConfigurationError, match="did you mean 'language'"):
        run("import", path, *options[:-2], "--column", "authors=Writer", "--dry-run")


def test_generate_and_export(tmp_path: Path, database: str) -> None:
    """generate adds the requested books; export writes the same CSV to stdout, or compressed to FILE."""
    assert "7 books added" in run("generate", "--books", "7", "--seed", "2").stderr
    assert count_books(database) == 7
    compressed = tmp_path / "all.csv.gz"
    text = run("export").stdout
    run("export", compressed)
    assert gzip.decompress(compressed.read_bytes()).decode() == text
    assert text.count("\n") >= 8
    with pytest.raises(ConfigurationError, match="already exists"):
        run("export", compressed)


def test_unreachable_database_error_has_no_secret(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error about an unreachable database names the database but not its password."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:s3cret@127.0.0.1:1/nowhere")
    with pytest.raises(ConfigurationError, match=r"database nowhere at 127\.0\.0\.1:1: cannot be reached") as caught:
        run("import", file)
    assert "s3cret" not in str(caught.value)
