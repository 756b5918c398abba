"""Finds out how a column writes its authors, from the column as a whole, or refuses to guess. Pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from bookstore.catalog.datasets.parsing.author_names import (
    CELL_BREAK,
    COMMA,
    AuthorFormat,
    Order,
    is_suffix,
    list_items,
    name_tokens,
    pieces,
    split_authors,
)
from bookstore.catalog.datasets.parsing.cells import is_missing
from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError

GUESS_ROWS: Final = 10_000
"""Rows at the beginning of the file from which the format is guessed."""

MAX_EXAMPLES: Final = 3
LONGEST_CELL: Final = 1000
"""Characters of a cell that counts. Longer ones are rare, and memory stays bounded."""

_CLEAR: Final = 0.9
"""Share of the evidence that decides. In the shipped sample 99 % of the names that tell an order tell the same one."""

_FEW_PAIRS: Final = 3
"""`Austen, Jane` may be one author or two who use one name; so many such cells without a counterexample are one."""

_NEVER_IN_NAMES: Final = (";", "|", "\n")
_SEPARATORS: Final = (*_NEVER_IN_NAMES, "/", " & ", " and ", " with ")
_USUAL: Final = 0.01
"""Share of the cells from which a mark between single words separates them. Below, it is part of names like AC/DC."""

_LISTING: Final = frozenset({COMMA, " & ", " and "})
"""Separators that people mix in one list: A, B and C."""

_PARTICLE: Final = re.compile(
    r"(?:al|bin|d'|da|das|de|del|den|der|di|do|dos|du|el|la|le|ten|ter|van|von|zu) ", re.IGNORECASE
)
"""What may stand before a surname: de la Cruz, van Beethoven."""


class GuessedFormat(NamedTuple):
    """The format, the evidence for it in words, and up to MAX_EXAMPLES cells with their authors."""

    format: AuthorFormat
    evidence: list[str]
    examples: list[tuple[str, list[str]]]


class _Evidence:
    """A number of rows and the first cell that counted."""

    def __init__(self) -> None:
        self.rows = 0
        self.example = ""

    def add(self, rows: int, cell: str) -> None:
        self.rows += rows
        self.example = self.example or excerpt(cell)


def author_format(file: str, cells: list[str], separators: tuple[str, ...], order: Order) -> GuessedFormat:
    """Return the format of the column whose first cells are `cells`; `separators` and `order` are used if given.

    `file` is named in the ConfigurationError that is raised if the column is ambiguous.
    """
    counts = Counter(part for cell in cells for part in cell.split(CELL_BREAK) if not is_missing(part))
    evidence = [f"from the first {GUESS_ROWS:,} rows"] if len(cells) >= GUESS_ROWS else []
    lists = sum(rows for part, rows in counts.items() if list_items(part) is not None)
    if lists:
        evidence.append(f"{lists:,} of {counts.total():,} cells are lists in brackets")
    found = separators or tuple(mark for mark in _SEPARATORS if any(mark in part for part in counts))
    if order is Order.AUTO:
        order = _order(file, counts, found, evidence)
    if not separators:
        separators = _separators(file, counts, found, order, evidence)
    written = AuthorFormat(separators, order)
    return GuessedFormat(written, evidence, list(_examples(counts, written)))


def exported_format(cells: Iterable[str]) -> GuessedFormat:
    """Return the format of a file that `bookstore catalog export` wrote."""
    written = AuthorFormat(exported=True)
    return GuessedFormat(written, ["written by bookstore catalog export"], list(_examples(Counter(cells), written)))


def _order(file: str, counts: Mapping[str, int], separators: tuple[str, ...], evidence: list[str]) -> Order:
    """Return the order that names have, by what stands before and after commas, and by names without one."""
    first_last, last_first = _Evidence(), _Evidence()
    certain = 0
    for part, rows in counts.items():
        for piece in _name_pieces(part, separators):
            order, is_certain = _order_of(name_tokens(piece))
            if order is not Order.AUTO:
                (first_last if order is Order.FIRST_LAST else last_first).add(rows, part)
                certain += rows if is_certain and order is Order.LAST_FIRST else 0
    total = first_last.rows + last_first.rows
    most = max(first_last.rows, last_first.rows)
    order = Order.FIRST_LAST if first_last.rows == most else Order.LAST_FIRST
    if most < _CLEAR * total or (order is Order.LAST_FIRST and not certain and most < _FEW_PAIRS):
        raise ConfigurationError(
            f"{file}: the order of the authors' names is ambiguous: {last_first.rows:,} look like 'Last, First'"
            f" ({last_first.example or '-'}), {first_last.rows:,} like 'First Last' ({first_last.example or '-'})."
            " Pass --author-order last-first or --author-order first-last; --dry-run shows the result"
        )
    if total:
        evidence.append(f"{most:,} of {total:,} names that tell an order are {order}")
    return order


def _order_of(tokens: list[str]) -> tuple[Order, bool]:
    """Return the order that the texts between commas suggest, AUTO if none, and whether it is certain."""
    words = [len(token.split()) for token in tokens]
    if len(tokens) < 2:
        return (Order.FIRST_LAST if words and words[0] > 1 else Order.AUTO), True
    if len(tokens) % 2:
        return Order.FIRST_LAST, True
    given = tokens[1::2]
    if all(map(_is_surname, tokens[::2])):
        return Order.LAST_FIRST, max(words[1::2]) > 1 or any("." in name for name in given)
    if min(words) > 1:
        return Order.FIRST_LAST, True
    # García Márquez, Gabriel; but also Robert Fagles, Homer.
    return (Order.LAST_FIRST if max(words[1::2]) == 1 else Order.AUTO), False


def _separators(
    file: str, counts: Mapping[str, int], found: tuple[str, ...], order: Order, evidence: list[str]
) -> tuple[str, ...]:
    """Return what separates authors: whatever stands between two texts that look like names."""
    between = {separator: _Evidence() for separator in (COMMA, *found)}
    bare = {separator: _Evidence() for separator in found}  # between single words: AC/DC, but also Gaiman/Pratchett
    for part, rows in counts.items():
        if list_items(part) is not None:
            continue
        for mark in found:
            if mark in part and _separates(part, mark, 1):
                (between if _separates(part, mark) else bare)[mark].add(rows, part)
        if COMMA in part:
            authors = max(len(name_tokens(piece)) for piece in _name_pieces(part, found))
            if authors > (3 if order is Order.LAST_FIRST else 1):
                between[COMMA].add(rows, part)
    usual = _USUAL * sum(counts.values())
    between |= {mark: seen for mark, seen in bare.items() if seen.rows > usual and not between[mark].rows}
    most = max(seen.rows for seen in between.values())
    often = [mark for mark, seen in between.items() if seen.rows and seen.rows > (1 - _CLEAR) * most]
    if len(often) > 1 and not (order is Order.FIRST_LAST and set(often) <= _LISTING):
        seen_text = "; ".join(
            f"{mark!r} (rows: {between[mark].rows:,}, such as {between[mark].example!r})" for mark in often
        )
        raise ConfigurationError(
            f"{file}: the separator of authors is ambiguous: {seen_text}. Pass --author-separator, once for each text"
            f" that separates authors, such as --author-separator {often[0]!r}; --dry-run shows the result"
        )
    evidence += [f"between names: {mark!r} (rows: {between[mark].rows:,})" for mark in often]
    evidence += [
        f"left in names: {mark!r} (rows: {seen.rows:,}, such as {seen.example!r})"
        for mark, seen in (*between.items(), *bare.items())
        if seen.rows and mark not in often
    ]
    return tuple(often) or (COMMA,)


def _separates(part: str, mark: str, shortest: int = 2) -> bool:
    """Return whether `mark` is between names in `part`, of at least `shortest` words if names may contain the mark."""
    names = [name for name in pieces(part, (mark,)) if name.strip() and not is_suffix(name.strip())]
    shortest = 1 if mark in _NEVER_IN_NAMES else shortest
    return len(names) > 1 and all(len(name.split()) >= shortest for name in names)


def _name_pieces(part: str, separators: Iterable[str]) -> list[str]:
    return pieces(part, [mark for mark in separators if mark in part and _separates(part, mark)])


def _is_surname(token: str) -> bool:
    while match := _PARTICLE.match(token):
        token = token[match.end() :]
    return all(map(is_suffix, token.split()[1:]))  # Davis Jr.


def _examples(counts: Mapping[str, int], written: AuthorFormat) -> Iterator[tuple[str, list[str]]]:
    """Yield cells that show the format: first those that it changes."""
    cells = [cell for cell in counts if not is_missing(cell)]
    telling = [cell for cell in cells[:1000] if split_authors(cell, written) != [cell]]
    for cell in list(dict.fromkeys(telling + cells))[:MAX_EXAMPLES]:
        yield excerpt(cell), [" ".join(name.split()) for name in split_authors(cell, written)]
