"""A strict reader for small YAML files: keeps the place of every value and reports all violations at once.

PyYAML's own loader is too lenient for configuration: it keeps the last of two equal keys, reads `010` as 8,
`2:30` as 150 and `no` as false. Here a document is one flat mapping of plain values, read by YAML 1.2's
rules (with `on` and `off` as booleans). It is read from PyYAML's events without building objects, so neither an
alias bomb nor endless nesting costs anything.
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

_MAX_PATH: Final = 4096

_MAX_DEPTH: Final = 16
"""Reading stops at deeper nesting: PyYAML takes minutes for 60,000 opening brackets."""

_KINDS: Final = {"Mapping": "a mapping", "Sequence": "a list", "Alias": "an alias (*)", "Scalar": "a value"}


def read(
    path: Path, violations: Violations | None = None, mappings: Collection[str] = (), lists: Collection[str] = ()
) -> SourceValues:
    """Return the flat mapping in the file at `path`; add everything else in it to `violations`.

    The value of a key in `mappings` may itself be a flat mapping: SourceValues in its SourceValue. The value of a key
    in `lists` may be a list: one SourceValue per item, either a plain value or SourceValues, to which `mappings`
    applies again.

    Violations are: not a readable regular file of up to 64 kB of UTF-8, invalid YAML, several documents, nested
    values, tags, anchors, duplicate keys. If `violations` is None, all of them are raised as one ConfigurationError.
    """
    collected = Violations() if violations is None else violations
    entries: SourceValues = {}
    name = excerpt(str(path), _MAX_PATH)
    try:
        _fill(entries, name, _read_text(path, name), collected, mappings, lists)
    except ConfigurationError as error:
        collected.add_unreadable("", str(error))
    if violations is None:
        collected.raise_any()
    return entries


def _fill(
    entries: SourceValues,
    name: str,
    text: str,
    violations: Violations,
    mappings: Collection[str],
    lists: Collection[str],
) -> None:
    try:
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        _expect_mapping(name, events)
        _read_mapping(entries, name, events, violations, mappings, lists)
        next(events)  # the document's end
        following = next(events)
        if not isinstance(following, yaml.StreamEndEvent):
            where = _place(name, following.start_mark)
            raise ConfigurationError(f"{where}: found a second document; allowed is one mapping of keys to values")
    except yaml.MarkedYAMLError as error:
        violations.add_unreadable(
            _place(name, error.problem_mark or error.context_mark),
            f"not YAML: {excerpt(error.problem or error.context or 'unreadable')}",
        )
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        violations.add_unreadable(f"{name}:{line}:{column}", f"not YAML: the character {chr(error.character)!a}")
    except (yaml.YAMLError, ValueError, OverflowError):  # an escape or a version number out of range
        violations.add_unreadable(name, "not YAML: a number or escape out of range")


def _expect_mapping(name: str, events: Iterator[yaml.Event]) -> None:
    """Read up to the first key. Raise ConfigurationError if the document is not a mapping."""
    next(events)  # the stream's start
    if isinstance(next(events), yaml.StreamEndEvent):
        raise ConfigurationError(f"{name}: found nothing; allowed is one mapping of keys to values")
    root = next(events)
    if not isinstance(root, yaml.MappingStartEvent) or _decoration(root):
        found = _decoration(root) or ("nothing" if getattr(root, "value", None) == "" else _kind(root))
        where = _place(name, root.start_mark)
        raise ConfigurationError(f"{where}: found {found}; allowed is one mapping of keys to values")


def _read_mapping(
    entries: SourceValues,
    name: str,
    events: Iterator[yaml.Event],
    violations: Violations,
    mappings: Collection[str] = (),
    lists: Collection[str] = (),
) -> None:
    """Read the rest of a mapping whose start event has been consumed."""
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        _skip(name, events, key)
        value = next(events)
        word = None if _decoration(value) or _decoration(key) else getattr(key, "value", None)
        if isinstance(value, yaml.MappingStartEvent) and word in mappings:
            inner: SourceValues = {}
            _read_mapping(inner, name, events, violations)
            _add_entry(entries, name, key, inner, violations)
        elif isinstance(value, yaml.SequenceStartEvent) and word in lists:
            _add_entry(entries, name, key, _read_list(str(word), name, events, violations, mappings), violations)
        else:
            _add_entry(entries, name, key, value, violations)
            _skip(name, events, value)


def _read_list(
    key: str, name: str, events: Iterator[yaml.Event], violations: Violations, mappings: Collection[str]
) -> list[SourceValue]:
    """Read the rest of a list whose start event has been consumed."""
    items: list[SourceValue] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        place = _place(name, event.start_mark)
        if isinstance(event, yaml.MappingStartEvent) and not _decoration(event):
            inner: SourceValues = {}
            _read_mapping(inner, name, events, violations, mappings)
            items.append(SourceValue(inner, "a mapping", place))
        elif isinstance(event, yaml.ScalarEvent) and not _decoration(event):
            items.append(_scalar_value(event, place))
        else:
            violations.add(place, key, _decoration(event) or _kind(event), "a list of plain values or of mappings")
            _skip(name, events, event)
    return items


def _skip(name: str, events: Iterator[yaml.Event], event: yaml.Event) -> None:
    """Read to the end of the collection that `event` starts."""
    depth = int(isinstance(event, yaml.CollectionStartEvent))
    while depth:
        event = next(events)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            where = _place(name, event.start_mark)
            raise ConfigurationError(f"{where}: found values nested too deeply; allowed are plain values")


def _add_entry(
    entries: SourceValues,
    file: str,
    key: yaml.Event,
    value: yaml.Event | SourceValues | list[SourceValue],
    violations: Violations,
) -> None:
    place = _place(file, key.start_mark)
    if not isinstance(key, yaml.ScalarEvent) or _decoration(key):
        violations.add(place, "?", f"{_decoration(key) or _kind(key)} as a key", "a plain word")
        return
    name = str(key.value)
    if name in entries:
        first = entries[name].place.rsplit(":", 2)[1]
        violations.add(place, name, f"the key a second time (first in line {first})", "each key once")
        return
    if isinstance(value, dict | list):
        entries[name] = SourceValue(value, "a mapping" if isinstance(value, dict) else "a list", place)
        return
    if not isinstance(value, yaml.ScalarEvent) or _decoration(value):
        violations.add(place, name, _decoration(value) or _kind(value), "a plain value")
        return
    entries[name] = _scalar_value(value, place)


def _scalar_value(event: yaml.ScalarEvent, place: str) -> SourceValue:
    return SourceValue(scalar(event.value) if event.style is None else event.value, event.value, place)


def _decoration(event: yaml.Event) -> str | None:
    """Describe the tag or anchor before a value; None if it is plain."""
    if getattr(event, "tag", None):
        return "a tag (!)"
    if isinstance(event, yaml.NodeEvent) and event.anchor and not isinstance(event, yaml.AliasEvent):
        return "an anchor (&)"
    return None


def _kind(event: yaml.Event) -> str:
    return next(words for start, words in _KINDS.items() if type(event).__name__.startswith(start))


def _place(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name


def _read_text(path: Path, name: str) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would block, /dev/zero never end
            raise ConfigurationError(f"{name}: found something other than a regular file; allowed is a YAML file")
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"{name}: not a valid file name") from None
    if len(raw) > LARGEST_FILE_BYTES:
        raise ConfigurationError(f"{name}: found more than {LARGEST_FILE_BYTES} bytes, which is the limit")
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode()) + 1
        raise ConfigurationError(
            f"{name}:{line}:{column}: found bytes that are not UTF-8; save the file as UTF-8"
        ) from None
