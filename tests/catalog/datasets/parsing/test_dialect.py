"""Files that are not comma-separated UTF-8 with the header in the first row."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest

from bookstore.catalog.datasets.parsing import csv_reader
from bookstore.catalog.datasets.parsing.csv_reader import BadRow, RawRow
from bookstore.catalog.datasets.parsing.options import (
    FileOptions,
    parse_author_separator,
    parse_delimiter,
    parse_encoding,
)
from bookstore.exceptions import ConfigurationError


def read(path: Path, data: bytes, options: FileOptions | None = None) -> list[RawRow | BadRow]:
    path.write_bytes(data)
    with csv_reader.open_csv(path, options) as source:
        source.first_authors(10, 100)  # as the import does before it reads all rows
        return list(source.rows())


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("title,authors\nÉmma,Jane\n", 2),
        ("title;authors\nÉmma;Jane\n", 2),
        ("title\tauthors\nÉmma\tJane\n", 2),
        ("title|authors\nÉmma|Jane\n", 2),
        ("sep=;\r\nTitle;Authors\r\nÉmma;Jane\r\n", 3),
        ('"sep=|"\nTitle|Authors\nÉmma|Jane\n', 3),
        ("\n\r\n  \ntitle;authors\nÉmma;Jane\n", 5),
        ("My books, all of them\n\nexported by; me\nTitle;Authors\nÉmma;Jane\n", 5),
        (",,\nLibrary,,\nTitle,Authors,Shelf\nÉmma,Jane,3\n", 4),
        ('"title", "authors"\n"Émma", "Jane"\n', 2),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_recognised(tmp_path: Path, text: str, row: int, encoding: str) -> None:
    """Delimiters, titles above the header and encodings with a byte order mark are recognised; rows keep the numbers
    that they have in the file."""
    for path, data in (
        (tmp_path / "a.csv", text.encode(encoding)),
        (tmp_path / "b", gzip.compress(text.encode(encoding))),
    ):
        (only,) = read(path, data)
        assert isinstance(only, RawRow)
        assert (only.row, only.title, only.authors) == (row, "Émma", "Jane")


def test_escaped_quotes(tmp_path: Path) -> None:
    r"""Quotes written as \" are recognised, also with doubled ones; a backslash before a closing quote is no escape."""
    data = b'"title";"authors"\n"The \\"Big\\" One";"A ""B"" C"\n'
    (row,) = read(tmp_path / "a.csv", data)
    assert row[1:3] == ('The "Big" One', 'A "B" C')
    (row,) = read(tmp_path / "a.csv", b'title,authors\n"C:\\",Ann\n')
    assert row[1:3] == ("C:\\", "Ann")


@pytest.mark.parametrize("encoding", ["windows-1252", "iso-8859-1", "utf-16-le", "utf-16-be", "cp1251"])
def test_encoding_is_given(tmp_path: Path, encoding: str) -> None:
    """A file without a byte order mark is read in the encoding of --encoding."""
    title = "Война" if encoding == "cp1251" else "Café"
    (row,) = read(tmp_path / "a.csv", f"title,authors\n{title},Ann\n".encode(encoding), FileOptions(encoding=encoding))
    assert row[1] == title


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("title,authors\nCafé,Ann\n".encode("cp1252"), "if 'Café,Ann' is right, pass --encoding windows-1252"),
        ("title,authors\nCafé,Ann\n".encode("utf-16-le"), "pass --encoding utf-16-le"),
        ("title,authors\nCafé,Ann\n".encode("utf-16-be"), "pass --encoding utf-16-be"),
        (b"title^authors\nA^Ann\n", "--delimiter"),
        (b"PK\x03\x04rest of a workbook", "is a workbook or a zip file"),
        (b"\n\n\n", "the file is empty"),
        (b"\n" * 30 + b"title,authors\n", "found no header in the first 20 rows"),
        (b'"title,authors\nA,Ann\n', "a.csv:1: a quote opened in this row is never closed"),
    ],
)
def test_what_is_not_recognised_names_the_option(tmp_path: Path, data: bytes, message: str) -> None:
    """The error for an encoding or delimiter that cannot be recognised names the option that helps."""
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path / "a.csv", data)
    assert message in str(caught.value)


def test_wrong_encoding_is_named(tmp_path: Path) -> None:
    """The error for a wrong --encoding names line, byte and encoding."""
    with pytest.raises(ConfigurationError, match=r"a.csv:2: found byte 0xc3, not ascii; name the encoding"):
        read(tmp_path / "a.csv", "title,authors\né,Ann\n".encode(), FileOptions(encoding="ascii"))


def test_delimiter_is_given(tmp_path: Path) -> None:
    """--delimiter names any character."""
    (row,) = read(tmp_path / "a.csv", b"title^authors\nA^Ann\n", FileOptions(delimiter="^"))
    assert row[1:3] == ("A", "Ann")


def test_pipe_is_read_twice(tmp_path: Path) -> None:
    """A pipe is kept in a temporary file, so that the format can be recognised before its rows are read."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"title;authors\nA;Ann\n",))
    writer.start()
    with csv_reader.open_csv(path) as source:
        assert source.first_authors(10, 100) == ["Ann"]
        assert len(list(source.rows())) == 1
    writer.join()


def test_options_are_checked() -> None:
    """Delimiters, encodings and separators have names, and nonsense is an error."""
    assert [parse_delimiter(text) for text in (";", "tab", "\\t", "pipe")] == [";", "\t", "\t", "|"]
    assert [parse_encoding(text) for text in ("UTF8", "latin-1")] == ["utf-8-sig", "iso8859-1"]
    assert [parse_author_separator(text) for text in (" and ", "\\n", "|", ", ", " - ")] == [
        " and ", "\n", "|", ",", " - "
    ]  # fmt: skip
    for parse, text in (
        (parse_delimiter, ""), (parse_delimiter, "ab"), (parse_delimiter, '"'), (parse_encoding, "base64"),
        (parse_encoding, "utf-9"), (parse_author_separator, " "),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match=r"allowed is|known are"):
            parse(text)
