"""Validates named values against a msgspec struct and collects every violation with its place."""

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

_INVISIBLE: Final = {"Cc", "Cs"}  # control characters and lone surrogates, which no output can represent


class SourceValue(msgspec.Struct, frozen=True):
    """A value and its source. `text` is the value as written, `place` reads `file:line:column`."""

    value: object
    text: str
    place: str


SourceValues = dict[str, SourceValue]


class Violations:
    """Collects the violations in a document; `raise_any` raises all of them in one ConfigurationError.

    `keys` are the keys with a violation. `incomplete` is true if a part could not be read, so that no key can be
    called missing.
    """

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.incomplete = False
        self._messages: list[tuple[str, str]] = []

    def add(self, place: str, key: str, found: str, allowed: str) -> None:
        """Add a violation of `key` at `place`."""
        self.keys.add(key)
        self._messages.append((place, f"{excerpt(key)}: found {found}; allowed is {allowed}"))

    def add_unreadable(self, place: str, reason: str) -> None:
        """Add a part, from `place` on, that could not be read."""
        self.incomplete = True
        self._messages.append((place, reason))

    @property
    def lines(self) -> list[str]:
        """One line per violation, file by file, in order of position."""
        files = list(dict.fromkeys(_position(place)[0] for place, _ in self._messages))
        messages = sorted(self._messages, key=lambda item: (files.index(_position(item[0])[0]), _position(item[0])))
        return list(dict.fromkeys(f"{place}: {text}" if place else text for place, text in messages))

    def raise_any(self) -> None:
        """Raise ConfigurationError if there is any violation."""
        if self._messages:
            raise ConfigurationError("\n".join(self.lines))


def _position(place: str) -> tuple[str, int, int]:
    match = re.fullmatch(r"(.*):([0-9]+):([0-9]+)", place)
    return (match[1], int(match[2]), int(match[3])) if match else (place, 0, 0)


def validate(
    cls: type[S],
    entries: Mapping[str, SourceValue],
    violations: Violations,
    remarks: Mapping[str, Callable[[object], str | None]],
    beside: Collection[str] = (),
) -> dict[str, Any]:
    """Return the values of `entries` converted to the field types of `cls`; add the others to `violations`.

    `remarks` maps a key to a function that returns why a value of the right type is invalid, or None. `beside` are
    keys that are allowed although the struct has no such field. The field `name` is not a key: it comes from the
    name of the file.
    """
    hints = get_type_hints(cls, include_extras=True)
    hints.pop("name", None)
    values: dict[str, Any] = {}
    for key, entry in entries.items():
        if key not in hints:
            violations.add(entry.place, key, "an unknown key", suggestion(key, [*hints, *beside]))
            continue
        remark = remarks[key](entry.value) if key in remarks else None
        if remark:
            violations.add(entry.place, key, remark, describe_allowed(hints[key]))
            continue
        try:
            values[key] = _convert(hints[key], entry)
        except ValueError:
            violations.add(entry.place, key, _describe(entry), describe_allowed(hints[key]))
    return values


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return what to write instead of the unknown `word`: the nearest known word, or all of them."""
    names = {_fold(name): name for name in sorted(known)}
    matches = difflib.get_close_matches(_fold(word), names, n=1, cutoff=0.6)
    return f"{names[matches[0]]} (did you mean that?)" if matches else ", ".join(sorted(names.values()))


def describe_allowed(hint: Any) -> str:
    """Describe a field's type for a message: `a whole number from 1 to 64`."""
    kind, meta = unpack_hint(hint)
    if get_origin(kind) is Literal:
        return " | ".join(get_args(kind))
    if kind is bool:
        return "on | off"
    if get_origin(kind) in {dict, list}:
        items = "texts" if get_args(kind) == (str,) else "mappings"
        return "a mapping of names to texts" if get_origin(kind) is dict else f"a list of {items}"
    if is_duration(meta):
        return f"a duration from {duration_text(meta.ge)} to {duration_text(meta.le)}, such as 500ms or 2s"
    if kind in (int, float):
        return f"a {'whole ' if kind is int else ''}number from {meta.ge} to {meta.le}"
    length = f" of up to {meta.max_length} characters" if meta and meta.max_length else ""
    return f"a text{length}, without control characters"


def unpack_hint(hint: Any) -> tuple[Any, Any]:
    """Unpack `Annotated[int, Meta(...)] | None` to (int, Meta), or (int, None) without a Meta."""
    options = [option for option in get_args(hint) if option is not type(None)]
    if type(None) in get_args(hint) and len(options) == 1:
        hint = options[0]
    meta = next((item for item in getattr(hint, "__metadata__", ()) if isinstance(item, msgspec.Meta)), None)
    return getattr(hint, "__origin__", hint) if meta else hint, meta


def is_duration(meta: msgspec.Meta | None) -> bool:
    """Whether a field is a text such as `2s` in a file and a number of seconds in the struct."""
    return bool(meta and meta.extra and meta.extra.get("duration"))


def _fold(word: str) -> str:
    return word.lower().replace("-", "_")


def _convert(hint: Any, entry: SourceValue) -> object:
    kind, meta = unpack_hint(hint)
    value = entry.value
    if get_origin(kind) is Literal and entry.text in get_args(kind):
        return entry.text  # in `pool: null`, null is a word and not YAML's null
    if is_duration(meta):
        if not isinstance(value, str) or not meta.ge <= (seconds := duration(value)) <= meta.le:
            raise ValueError(value)
        return seconds
    if value is None or (isinstance(value, bool) and kind is not bool):
        raise ValueError(value)  # msgspec accepts null for an optional field; here the key has to be left out
    if isinstance(value, str) and _is_invisible(value):
        raise ValueError(value)
    if kind is bool and value in ("on", "off"):
        return value == "on"  # quoted, as in JSON
    return msgspec.convert(value, hint, strict=True)


def _is_invisible(text: str) -> bool:
    return any(unicodedata.category(letter) in _INVISIBLE for letter in text if letter not in "\n\t")


def _describe(entry: SourceValue) -> str:
    if isinstance(entry.value, str):
        return f"the text '{excerpt(entry.text)}'"
    return f"nothing ({entry.text})" if entry.value is None and entry.text else excerpt(entry.text) or "nothing"
