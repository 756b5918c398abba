"""Fitting named values to a msgspec struct: each value keeps its place, every mistake is told at once."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from bookstore.config.scalars import duration, duration_text
from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError

S = TypeVar("S", bound=msgspec.Struct)

_INVISIBLE: Final = {"Cc", "Cs"}  # control characters and lone surrogates: no output could carry them


class SourceValue(msgspec.Struct, frozen=True):
    """A value and where it stands. `text` is the source as written, `place` reads `file:line:column`."""

    value: object
    text: str
    place: str


SourceValues = dict[str, SourceValue]


class Violations:
    """Gathers what is wrong with a document; `raise_any` tells all of it in one ConfigurationError.

    `keys` are those that a mistake was about. `incomplete` says that a part could not be read at all, so
    that nothing can be said about what is missing.
    """

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.incomplete = False
        self._told: list[tuple[str, str]] = []

    def add(self, place: str, key: str, found: str, allowed: str) -> None:
        """A wrong `key` at `place`."""
        self.keys.add(key)
        self._told.append((place, f"{excerpt(key)}: found {found}; allowed is {allowed}"))

    def cannot_read(self, place: str, reason: str) -> None:
        """What stands at `place`, and all behind it, stays unknown."""
        self.incomplete = True
        self._told.append((place, reason))

    @property
    def lines(self) -> list[str]:
        """A line for each mistake, file by file, in the order in which they stand there."""
        files = list(dict.fromkeys(_position(place)[0] for place, _ in self._told))
        told = sorted(self._told, key=lambda item: (files.index(_position(item[0])[0]), _position(item[0])))
        return list(dict.fromkeys(f"{place}: {text}" if place else text for place, text in told))

    def raise_any(self) -> None:
        """Raises ConfigurationError if there was any mistake."""
        if self._told:
            raise ConfigurationError("\n".join(self.lines))


def _position(place: str) -> tuple[str, int, int]:
    match = re.fullmatch(r"(.*):([0-9]+):([0-9]+)", place)
    return (match[1], int(match[2]), int(match[3])) if match else (place, 0, 0)


def validate(
    cls: type[S],
    entries: Mapping[str, SourceValue],
    mistakes: Violations,
    remarks: Mapping[str, Callable[[object], str | None]],
    beside: Collection[str] = (),
) -> dict[str, Any]:
    """The values of `entries` as `cls` wants them; what does not fit goes to `mistakes`.

    `remarks` maps a key to a function that may explain why a value is refused although it is of the right
    type, or None. `beside` are keys that may stand there though the struct has no such field. The field
    `name` is nobody's key: a file's name says it.
    """
    hints = get_type_hints(cls, include_extras=True)
    hints.pop("name", None)
    values: dict[str, Any] = {}
    for key, entry in entries.items():
        if key not in hints:
            mistakes.add(entry.place, key, "an unknown key", suggestion(key, [*hints, *beside]))
            continue
        remark = remarks[key](entry.value) if key in remarks else None
        if remark:
            mistakes.add(entry.place, key, remark, describe_allowed(hints[key]))
            continue
        try:
            values[key] = _convert(hints[key], entry)
        except ValueError:
            mistakes.add(entry.place, key, _describe(entry), describe_allowed(hints[key]))
    return values


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to write in place of an unknown `word`: the nearest known one, else all of them."""
    names = {_folded(name): name for name in sorted(known)}
    near = difflib.get_close_matches(_folded(word), names, n=1, cutoff=0.6)
    return f"{names[near[0]]} (did you mean that?)" if near else ", ".join(sorted(names.values()))


def describe_allowed(hint: Any) -> str:
    """A field's type in a person's words: `a whole number from 1 to 64`."""
    kind, meta = unpacked(hint)
    if get_origin(kind) is Literal:
        return " | ".join(get_args(kind))
    if kind is bool:
        return "on | off"
    if get_origin(kind) in {dict, list}:
        of = "texts" if get_args(kind) == (str,) else "mappings"
        return "a mapping of names to texts" if get_origin(kind) is dict else f"a list of {of}"
    if is_duration(meta):
        return f"a duration from {duration_text(meta.ge)} to {duration_text(meta.le)}, such as 500ms or 2s"
    if kind in (int, float):
        return f"a {'whole ' if kind is int else ''}number from {meta.ge} to {meta.le}"
    most = f" of up to {meta.max_length} characters" if meta and meta.max_length else ""
    return f"a text{most}, without control characters"


def unpacked(hint: Any) -> tuple[Any, Any]:
    """`Annotated[int, Meta(...)] | None` -> (int, Meta); (int, None) where there is no Meta."""
    options = [option for option in get_args(hint) if option is not type(None)]
    if type(None) in get_args(hint) and len(options) == 1:
        hint = options[0]
    meta = next((item for item in getattr(hint, "__metadata__", ()) if isinstance(item, msgspec.Meta)), None)
    return getattr(hint, "__origin__", hint) if meta else hint, meta


def is_duration(meta: msgspec.Meta | None) -> bool:
    """Whether the field is a text such as `2s` in a file and seconds in the struct."""
    return bool(meta and meta.extra and meta.extra.get("duration"))


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")


def _convert(hint: Any, entry: SourceValue) -> object:
    kind, meta = unpacked(hint)
    value = entry.value
    if get_origin(kind) is Literal and entry.text in get_args(kind):
        return entry.text  # `pool: null` means the word, not YAML's null
    if is_duration(meta):
        if not isinstance(value, str) or not meta.ge <= (seconds := duration(value)) <= meta.le:
            raise ValueError(value)
        return seconds
    if value is None or (isinstance(value, bool) and kind is not bool):
        raise ValueError(value)  # msgspec would take null where a field is optional: leave the key out
    if isinstance(value, str) and _is_invisible(value):
        raise ValueError(value)
    if kind is bool and value in ("on", "off"):
        return value == "on"  # quoted, as JSON has to write it
    return msgspec.convert(value, hint, strict=True)


def _is_invisible(text: str) -> bool:
    return any(unicodedata.category(letter) in _INVISIBLE for letter in text if letter not in "\n\t")


def _describe(entry: SourceValue) -> str:
    if isinstance(entry.value, str):
        return f"the text '{excerpt(entry.text)}'"
    return f"nothing ({entry.text})" if entry.value is None and entry.text else excerpt(entry.text) or "nothing"
