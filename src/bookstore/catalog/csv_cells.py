r"""Texts in CSV cells: lists of names in one cell, and texts that a spreadsheet would run as a formula.

`Neil Gaiman, Terry Pratchett`: a separator within a name is escaped with a backslash, so that joined names can be split
again. `'=1+1`: a text that begins like a formula gets an apostrophe, which spreadsheets take as the mark of a text. A
text that begins with apostrophes and then like a formula gets one more, so that `unprotect` restores every text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

AUTHOR_SEPARATOR: Final = ","
GENRE_SEPARATOR: Final = ";"

_FORMULA: Final = r"'*[-=+@\t\r\n\uff0d\uff1d\uff0b\uff20]"
"""How a formula begins (OWASP, CSV injection), for Python and PostgreSQL. The last four are the full-width forms."""

_LIKE_A_FORMULA: Final = re.compile(_FORMULA)
_PROTECTED: Final = re.compile(f"'{_FORMULA}")
_PART: Final = {mark: re.compile(rf"((?:\\[\\{mark}]|[^{mark}])*){mark}?") for mark in ",;"}
_ESCAPED: Final = {mark: re.compile(rf"\\([\\{mark}])") for mark in ",;"}


def split_names(cell: str, separator: str) -> list[str]:
    r"""Return the names in `cell`, unstripped; `\,` is a comma within a name, `\\` a backslash.

    Any other backslash is literal, because files from elsewhere do not use this convention.
    """
    if "\\" not in cell:
        return cell.split(separator)
    parts = (match[1] for match in _PART[separator].finditer(cell))
    return [_ESCAPED[separator].sub(r"\1", part) for part in parts]


def join_names(names: Iterable[str], separator: str) -> str:
    """Return the cell that `split_names` splits into `names`, the same as with `escape_sql`."""
    escaped = (name.replace("\\", "\\\\").replace(separator, f"\\{separator}") for name in names)
    return f"{separator} ".join(escaped)


def protect(text: str) -> str:
    """Return `text` for a cell that no spreadsheet takes as a formula."""
    return f"'{text}" if _LIKE_A_FORMULA.match(text) else text


def unprotect(text: str) -> str:
    """Return the text that `protect` received."""
    return text[1:] if _PROTECTED.match(text) else text


def escape_sql(column: str, separator: str) -> str:
    """Return the SQL that escapes a name in `column` for `split_names`."""
    return rf"replace(replace({column}, '\', '\\'), '{separator}', '\{separator}')"


def protect_sql(text: str) -> str:
    """Return the SQL that protects the expression `text`, as `protect` does."""
    pattern = _FORMULA.replace("'", "''")
    return f"CASE WHEN {text} ~ '^{pattern}' THEN '''' ELSE '' END || {text}"
