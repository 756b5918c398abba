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
    [(["title"], "allowed is OURS=THEIRS"), (["title=A", "title=B"], "given twice"), (["a=title"], "known are")],
)
def test_column_option(file: Path, texts: list[str], message: str) -> None:
    """--column accepts OURS=THEIRS, once for each of our columns."""
    options = [part for text in texts for part in ("--column", text)]
    with pytest.raises(ConfigurationError, match=message):
        run("import", file, *options)


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
    with pytest.raises(ConfigurationError, match=r"cannot connect to nowhere at 127\.0\.0\.1:1") as caught:
        run("import", file)
    assert "s3cret" not in str(caught.value)
