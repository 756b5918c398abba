"""Lists of names in one CSV cell: `Neil Gaiman, Terry Pratchett`.

A separator within a name is escaped with a backslash, so that joined names can be split again.
"""

from __future__ import annotations

import re
from typing import Final

AUTHOR_SEPARATOR: Final = ","
GENRE_SEPARATOR: Final = ";"

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


def escape_sql(column: str, separator: str) -> str:
    """Return the SQL that escapes a name in `column` for `split_names`."""
    return rf"replace(replace({column}, '\', '\\'), '{separator}', '\{separator}')"
