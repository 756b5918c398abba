"""What a user can say about a file that is to be imported. Whatever is not said is recognised from the file."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from bookstore.catalog.datasets.parsing.author_names import COMMA, Order
from bookstore.catalog.datasets.parsing.columns import our_column
from bookstore.exceptions import ConfigurationError

_NAMED_DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}


class FileOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`columns` maps our columns to names in the header, joined by `+`, or to "" for a column that is not to be read.

    `delimiter` is one character, `encoding` a Python codec, and `author_separators` are the texts between two authors.
    None, or an empty tuple, means: recognise it.
    """

    columns: Mapping[str, str] = {}
    delimiter: str | None = None
    encoding: str | None = None
    author_separators: tuple[str, ...] = ()
    author_order: Order = Order.AUTO


def parse_columns(texts: Iterable[str]) -> Mapping[str, str]:
    """Parse the texts of `--column`, such as `title=Name`, as a mapping. Raises ConfigurationError."""
    mapping: dict[str, str] = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not (ours and equals):
            raise ConfigurationError(f"--column {text}: allowed is OURS=THEIRS, such as title=Name")
        ours = our_column(ours) or ours
        if ours in mapping:
            raise ConfigurationError(f"--column {text}: {ours} is given twice; allowed is once")
        mapping[ours] = theirs.strip()
    return mapping


def parse_delimiter(text: str) -> str:
    """Return the delimiter that `--delimiter text` names. Raises ConfigurationError."""
    delimiter = _NAMED_DELIMITERS.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter.isalnum() or delimiter in '"\r\n\\\0':
        raise ConfigurationError(
            f"--delimiter {text!r}: allowed is one character such as ';', or {', '.join(_NAMED_DELIMITERS)}"
        )
    return delimiter


def parse_encoding(text: str) -> str:
    """Return the name of a text encoding. A UTF-8 file may begin with a byte order mark. Raises ConfigurationError."""
    try:
        name = codecs.lookup(text).name
        b"a".decode(name, "ignore")  # refuses codecs that are not text, such as base64
    except (LookupError, ValueError):
        raise ConfigurationError(
            f"--encoding {text}: unknown encoding; known are utf-8, utf-16, windows-1252, iso-8859-1 and the other"
            " text encodings of Python"
        ) from None
    return "utf-8-sig" if name == "utf-8" else name


def parse_author_separator(text: str) -> str:
    r"""Return the text between two authors that `--author-separator text` means; `\n` is a line end.

    Spaces count only on both sides: ` - ` is not the hyphen in Jean-Paul. Raises ConfigurationError.
    """
    separator = text.replace("\\n", "\n").replace("\\t", "\t")
    if not separator.strip(" ") or separator.strip().isdigit():
        raise ConfigurationError(f"--author-separator {text!r}: allowed is a text such as ';', '/', ' and ' or '\\n'")
    spaced = separator == f" {separator.strip(' ')} " != f" {COMMA} "
    return separator if spaced else separator.strip(" ")
