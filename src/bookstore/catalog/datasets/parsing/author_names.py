"""Authors in one cell: `Gaiman, Neil; Pratchett, Terry` are Neil Gaiman and Terry Pratchett. Pure functions.

A file has one format for the whole column; `author_format` finds it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from bookstore.catalog.csv_cells import AUTHOR_SEPARATOR, split_names, unprotect
from bookstore.catalog.datasets.parsing.cells import is_missing

CELL_BREAK: Final = "\x1e"
"""Joins the cells of several columns that feed one. It is white space, so no name contains it."""

COMMA: Final = ","

# In capitals as usual: Md and Ma are names, MD and MA are degrees.
_COMPANY: Final = r"[Ii]nc|INC|[Ll]td|LTD|LLC|L\.L\.C|LLP|GmbH|Corp|Co|S\.A|B\.V|Pty"
_PERSON: Final = (
    r"[JSjs]r|JR|SR|[JS]nr|II|III|IV|Ph\.? ?[Dd]|PHD|M\. ?D|MD|M\. ?A|B\. ?A|MBA|D\.? ?D\.? ?S|D\.? ?D|J\.? ?D|Ed\.? ?D"
    r"|Psy\.? ?D|D\.? ?Phil|D\.? ?V\.? ?M|R\.? ?N|R\.? ?D|C\.? ?P\.? ?A|Esq|S\.? ?J|O\.? ?P|O\.? ?B\.? ?E|C\.? ?B\.? ?E"
)
_SUFFIX: Final = re.compile(rf"(?:{_COMPANY}|{_PERSON})\.?")
_COMPANY_SUFFIX: Final = re.compile(rf"(?:{_COMPANY})\.?")
_LIFE: Final = re.compile(r"(?:b\. |d\. |ca?\. ?)?\d{3,4}(?:-(?:\d{3,4})?)?\.?")
"""What libraries write behind a name in the order last-first: Tolkien, J. R. R., 1892-1973."""


class Order(StrEnum):
    """The order within a name: Jane Austen, or Austen, Jane. AUTO: as in the file."""

    FIRST_LAST = "first-last"
    LAST_FIRST = "last-first"
    AUTO = "auto"


class AuthorFormat(NamedTuple):
    """How the authors of a column are written. `exported` marks the format of our own export, which escapes commas."""

    separators: tuple[str, ...] = (COMMA,)
    order: Order = Order.FIRST_LAST
    exported: bool = False


DEFAULT_FORMAT: Final = AuthorFormat()


def split_authors(cell: str, written: AuthorFormat) -> list[str]:
    """Return the authors in `cell`, each in the order first name, last name. White space is not normalised."""
    if written.exported:
        return split_names(unprotect(cell), AUTHOR_SEPARATOR)
    names: list[str] = []
    for part in cell.split(CELL_BREAK):
        if not is_missing(part):
            names += _split_part(part, written)
    return names


def _split_part(part: str, written: AuthorFormat) -> Iterator[str]:
    last_first = written.order is Order.LAST_FIRST
    for piece in pieces(part, written.separators):
        if last_first or COMMA in written.separators:
            tokens = comma_tokens(piece)
            yield from _turned(tokens) if last_first else _with_suffixes(tokens)
        else:
            yield piece


def pieces(part: str, separators: Iterable[str]) -> list[str]:
    """Return what stands between `separators`, commas aside, or the items if `part` is a list in JSON or Python.

    Calibre writes `|` for a comma within a name, because it joins names by ` & `.
    """
    found = list_items(part)
    if found is not None:
        return found
    found = [part]
    for separator in sorted(separators, key="\n".__ne__):  # line ends first: they are white space for the others
        if separator == "\n":
            found = part.splitlines()
        elif separator != COMMA:
            found = [piece for text in found for piece in _pattern(separator).split(" ".join(text.split()))]
    if "|" in part and "|" not in separators and any(separator.strip() == "&" for separator in separators):
        found = [piece.replace("|", COMMA) for piece in found]
    return found


def list_items(part: str) -> list[str] | None:
    """Return the items of a list of names in JSON or Python, `["Neil Gaiman", "Terry Pratchett"]`, or None."""
    text = part.strip()
    if not (text.startswith(("['", '["')) and text.endswith("]")):
        return None
    try:
        items = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return items if isinstance(items, list) and all(isinstance(item, str) for item in items) else None


def comma_tokens(piece: str) -> list[str]:
    r"""Return the texts between the commas of `piece`; `\,` is a comma within a name."""
    return [token.strip() for token in split_names(piece, COMMA) if token.strip()]


def name_tokens(piece: str) -> list[str]:
    """Return the texts between commas without suffixes and years of life: the parts that are names."""
    tokens = comma_tokens(piece)
    return tokens[:1] + [token for token in tokens[1:] if not is_suffix(token) and not _LIFE.fullmatch(token)]


def is_suffix(token: str) -> bool:
    """Return whether `token` belongs to the name before it: Jr., III, PhD, Inc."""
    return _SUFFIX.fullmatch(token) is not None


def _with_suffixes(tokens: list[str]) -> list[str]:
    names: list[str] = []
    for token in tokens:
        if names and is_suffix(token):
            names[-1] += f", {token}"
        else:
            names.append(token)
    return names


def _turned(tokens: list[str]) -> Iterator[str]:
    """Yield names from `last, first` pairs. A suffix may follow either; a company has no first name."""
    last = first = suffix = ""
    for token in tokens:
        if last and is_suffix(token):
            suffix += f", {token}"
        elif last and not first and not _COMPANY_SUFFIX.fullmatch(suffix.removeprefix(", ")):
            first = token
        elif not (last and _LIFE.fullmatch(token)):
            yield from _joined(first, last, suffix)
            last, first, suffix = token, "", ""
    yield from _joined(first, last, suffix)


def _joined(first: str, last: str, suffix: str) -> Iterator[str]:
    if last:
        yield f"{first} {last}".strip() + suffix


@lru_cache(64)
def _pattern(separator: str) -> re.Pattern[str]:
    """Return the pattern of `separator` in a text with single spaces.

    Words and `&` need spaces around them: Anderson and AT&T are names.
    """
    text = separator.strip()
    spaced = separator == f" {text} " or text.isalpha() or text == "&"
    return re.compile(f" {re.escape(text)} " if spaced else f" ?{re.escape(text)} ?")
