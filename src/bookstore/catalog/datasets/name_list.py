"""Several names in one CSV cell: `Neil Gaiman, Terry Pratchett`.

A separator inside a name is written with a backslash before it, so that what was joined can be split.
"""

from __future__ import annotations

import re
from typing import Final

AUTHOR_SEPARATOR: Final = ","
GENRE_SEPARATOR: Final = ";"

_PART: Final = {mark: re.compile(rf"((?:\\[\\{mark}]|[^{mark}])*){mark}?") for mark in ",;"}
_ESCAPED: Final = {mark: re.compile(rf"\\([\\{mark}])") for mark in ",;"}


def split_names(cell: str, separator: str) -> list[str]:
    r"""The names in `cell`, unstripped; `\,` is a comma within a name, `\\` a backslash.

    Any other backslash stands for itself: files of others know nothing of this convention.
    """
    if "\\" not in cell:
        return cell.split(separator)
    parts = (match[1] for match in _PART[separator].finditer(cell))
    return [_ESCAPED[separator].sub(r"\1", part) for part in parts]


def escape_sql(column: str, separator: str) -> str:
    """The SQL that writes a name in `column` so that `split` gives it back."""
    return rf"replace(replace({column}, '\', '\\'), '{separator}', '\{separator}')"
