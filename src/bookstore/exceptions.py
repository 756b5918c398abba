"""What a person can mend: refused before anything starts."""

from __future__ import annotations

from typing import Final

EXIT_REFUSED: Final = 2


class Refused(Exception):  # noqa: N818 - it is an answer, not an accident
    """Bad input or a state that forbids the start; its text says what was found, where, what is allowed
    and what to do. The commands print it without a traceback and end with EXIT_REFUSED."""
