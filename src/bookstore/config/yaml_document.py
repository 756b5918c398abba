"""A strict reader of small YAML files: every value keeps its place, every mistake is told at once.

PyYAML's own loader is too kind for configuration: it keeps the last of two equal keys, reads `010` as 8,
`2:30` as 150 and `no` as false. Here a document is one flat mapping of plain values, read by YAML 1.2's
rules (with `on` and `off` as booleans) from PyYAML's events, one after the other: nothing is built, so
neither a bomb of aliases nor endless nesting costs anything.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from bookstore.config.scalars import scalar
from bookstore.config.text import excerpt
from bookstore.config.validation import SourceValue, SourceValues, Violations
from bookstore.exceptions import ConfigurationError

LARGEST_FILE_BYTES: Final = 64 * 1024

_LONGEST_PATH: Final = 4096

_DEEPEST: Final = 16
"""Nested deeper than this, reading ends: PyYAML takes minutes over 60,000 opening brackets."""

_KINDS: Final = {"Mapping": "a mapping", "Sequence": "a list", "Alias": "an alias (*)", "Scalar": "a value"}


def read(
    path: Path, mistakes: Violations | None = None, mappings: Collection[str] = (), lists: Collection[str] = ()
) -> SourceValues:
    """The one flat mapping in the file at `path`; what else is in there goes to `mistakes`. The value of a key
    in `mappings` may be a flat mapping itself: the Entries in its Entry. That of a key in `lists` may be a list:
    an Entry for each item, whose value is a plain one or Entries, in which `mappings` hold again.

    ConfigurationError are: no readable regular file of up to 64 kB of UTF-8, no YAML, several documents, nested values,
    tags, anchors, a key that stands twice. Without `mistakes` all of it is raised as one ConfigurationError.
    """
    gathered = Violations() if mistakes is None else mistakes
    entries: SourceValues = {}
    name = excerpt(str(path), _LONGEST_PATH)
    try:
        _fill(entries, name, _text(path, name), gathered, mappings, lists)
    except ConfigurationError as refusal:
        gathered.cannot_read("", str(refusal))
    if mistakes is None:
        gathered.raise_any()
    return entries


def _fill(
    entries: SourceValues, name: str, text: str, mistakes: Violations, mappings: Collection[str], lists: Collection[str]
) -> None:
    try:
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        _begin(name, events)
        _enter_all(entries, name, events, mistakes, mappings, lists)
        next(events)  # the document's end
        following = next(events)
        if not isinstance(following, yaml.StreamEndEvent):
            where = _place(name, following.start_mark)
            raise ConfigurationError(f"{where}: found a second document; allowed is one mapping of keys to values")
    except yaml.MarkedYAMLError as error:
        mistakes.cannot_read(
            _place(name, error.problem_mark or error.context_mark),
            f"not YAML: {excerpt(error.problem or error.context or 'unreadable')}",
        )
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        mistakes.cannot_read(f"{name}:{line}:{column}", f"not YAML: the character {chr(error.character)!a}")
    except (yaml.YAMLError, ValueError, OverflowError):  # an escape or a version with an absurd number
        mistakes.cannot_read(name, "not YAML: a number or escape that no character has")


def _begin(name: str, events: Iterator[yaml.Event]) -> None:
    """Reads up to the first key. Raises ConfigurationError for what is not a mapping."""
    next(events)  # the stream's start
    if isinstance(next(events), yaml.StreamEndEvent):
        raise ConfigurationError(f"{name}: found nothing; allowed is one mapping of keys to values")
    root = next(events)
    if not isinstance(root, yaml.MappingStartEvent) or _decoration(root):
        found = _decoration(root) or ("nothing" if getattr(root, "value", None) == "" else _kind(root))
        where = _place(name, root.start_mark)
        raise ConfigurationError(f"{where}: found {found}; allowed is one mapping of keys to values")


def _enter_all(
    entries: SourceValues,
    name: str,
    events: Iterator[yaml.Event],
    mistakes: Violations,
    mappings: Collection[str] = (),
    lists: Collection[str] = (),
) -> None:
    """Reads a mapping that has begun, to its end."""
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        _skip(name, events, key)
        value = next(events)
        word = None if _decoration(value) or _decoration(key) else getattr(key, "value", None)
        if isinstance(value, yaml.MappingStartEvent) and word in mappings:
            inner: SourceValues = {}
            _enter_all(inner, name, events, mistakes)
            _enter(entries, name, key, inner, mistakes)
        elif isinstance(value, yaml.SequenceStartEvent) and word in lists:
            _enter(entries, name, key, _items(str(word), name, events, mistakes, mappings), mistakes)
        else:
            _enter(entries, name, key, value, mistakes)
            _skip(name, events, value)


def _items(
    key: str, name: str, events: Iterator[yaml.Event], mistakes: Violations, mappings: Collection[str]
) -> list[SourceValue]:
    """Reads a list that has begun, to its end."""
    items: list[SourceValue] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        place = _place(name, event.start_mark)
        if isinstance(event, yaml.MappingStartEvent) and not _decoration(event):
            inner: SourceValues = {}
            _enter_all(inner, name, events, mistakes, mappings)
            items.append(SourceValue(inner, "a mapping", place))
        elif isinstance(event, yaml.ScalarEvent) and not _decoration(event):
            items.append(_plain(event, place))
        else:
            mistakes.add(place, key, _decoration(event) or _kind(event), "a list of plain values or of mappings")
            _skip(name, events, event)
    return items


def _skip(name: str, events: Iterator[yaml.Event], event: yaml.Event) -> None:
    """Reads on to the end of what `event` begins."""
    depth = int(isinstance(event, yaml.CollectionStartEvent))
    while depth:
        event = next(events)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            where = _place(name, event.start_mark)
            raise ConfigurationError(f"{where}: found values nested without end; allowed are plain values")


def _enter(
    entries: SourceValues,
    file: str,
    key: yaml.Event,
    value: yaml.Event | SourceValues | list[SourceValue],
    mistakes: Violations,
) -> None:
    place = _place(file, key.start_mark)
    if not isinstance(key, yaml.ScalarEvent) or _decoration(key):
        mistakes.add(place, "?", f"{_decoration(key) or _kind(key)} as a key", "a plain word")
        return
    name = str(key.value)
    if name in entries:
        first = entries[name].place.rsplit(":", 2)[1]
        mistakes.add(place, name, f"the key a second time (first in line {first})", "each key once")
        return
    if isinstance(value, dict | list):
        entries[name] = SourceValue(value, "a mapping" if isinstance(value, dict) else "a list", place)
        return
    if not isinstance(value, yaml.ScalarEvent) or _decoration(value):
        mistakes.add(place, name, _decoration(value) or _kind(value), "a plain value")
        return
    entries[name] = _plain(value, place)


def _plain(event: yaml.ScalarEvent, place: str) -> SourceValue:
    return SourceValue(scalar(event.value) if event.style is None else event.value, event.value, place)


def _decoration(event: yaml.Event) -> str | None:
    """What stands before a value and makes it more than plain."""
    if getattr(event, "tag", None):
        return "a tag (!)"
    if isinstance(event, yaml.NodeEvent) and event.anchor and not isinstance(event, yaml.AliasEvent):
        return "an anchor (&)"
    return None


def _kind(event: yaml.Event) -> str:
    return next(words for start, words in _KINDS.items() if type(event).__name__.startswith(start))


def _place(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name


def _text(path: Path, name: str) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a fifo would wait for ever, /dev/zero never end
            raise ConfigurationError(f"{name}: found something that is no regular file; allowed is a YAML file")
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"{name}: no file can have this name") from None
    if len(raw) > LARGEST_FILE_BYTES:
        raise ConfigurationError(f"{name}: found more than {LARGEST_FILE_BYTES} bytes; no such file needs as many")
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode()) + 1
        raise ConfigurationError(
            f"{name}:{line}:{column}: found bytes that are not UTF-8; save the file as UTF-8"
        ) from None
