"""A strict reader of small YAML files: every value keeps its place, every mistake is told at once.

PyYAML's own loader is too kind for configuration: it keeps the last of two equal keys, reads `010` as 8,
`2:30` as 150 and `no` as false. Here a document is one flat mapping of plain values, read by YAML 1.2's
rules (with `on` and `off` as booleans), and is then fitted to a msgspec struct field by field.
"""

from __future__ import annotations

import difflib
import math
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import yaml

from bookstore.refusal import Refused

LARGEST_FILE_BYTES: Final = 64 * 1024

_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")
_DURATION: Final = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_WORDS: Final[dict[str, object]] = {
    "true": True, "on": True, "false": False, "off": False, "null": None, "~": None, "": None,
}  # fmt: skip

S = TypeVar("S", bound=msgspec.Struct)


class Entry(msgspec.Struct, frozen=True):
    """A value and where it stands. `text` is the source as written, `place` reads `file:line:column`."""

    value: object
    text: str
    place: str


Entries = dict[str, Entry]


class Mistakes:
    """Gathers what is wrong with a document; `raise_any` tells all of it in one Refused."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, place: str, key: str, found: str, allowed: str) -> None:
        self.lines.append(f"{place}: {key}: found {found}; allowed is {allowed}")

    def raise_any(self) -> None:
        if self.lines:
            raise Refused("\n".join(self.lines))


def duration(text: str) -> float:
    """`500ms`, `2s`, `1.5m`, `1h` -> seconds. Raises ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(text)
    seconds = float(match[1] + (match[2] or "")) * _SECONDS[match[3]]
    if not math.isfinite(seconds):
        raise ValueError(text)
    return seconds


def duration_text(seconds: float) -> str:
    """The inverse of `duration`: 0.5 -> `500ms`, 2.0 -> `2s`."""
    return f"{seconds:g}s" if seconds >= 1 or seconds == 0 else f"{seconds * 1000:g}ms"


def scalar(text: str) -> object:
    """A plain scalar by YAML 1.2's rules: true, false, on, off, null, decimal numbers; else the text."""
    if text.lower() in _WORDS and (text.islower() or not text or text == "~"):
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= 20 else text
    return float(text) if _FLOAT.fullmatch(text) else text


def read(path: Path) -> Entries:
    """The one flat mapping in the file at `path`.

    Raises Refused, with every mistake of the file and its place, for anything that is not such a mapping:
    no readable regular file of up to 64 kB of UTF-8, no YAML, several documents, nested values, tags,
    anchors, a key that stands twice.
    """
    text = _text(path)
    try:
        for token in yaml.scan(text):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken | yaml.TagToken):
                where = f"{path}:{token.start_mark.line + 1}:{token.start_mark.column + 1}"
                raise Refused(f"{where}: found a tag, anchor or alias (!, & or *); allowed are plain values")
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise Refused(f"{where}: not YAML: {error.problem or error.context}") from None
    except RecursionError:
        raise Refused(f"{path}: found values nested without end; allowed are plain values") from None
    except yaml.YAMLError as error:
        raise Refused(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    if len(nodes) != 1 or nodes[0] is None:
        found = f"{len(nodes)} documents" if len(nodes) > 1 else "nothing"
        raise Refused(f"{path}: found {found}; allowed is one mapping of keys to values")
    if not isinstance(nodes[0], yaml.MappingNode):
        raise Refused(f"{path}: found a {nodes[0].id}; allowed is one mapping of keys to values")
    return _entries(path, nodes[0])


def fit(
    cls: type[S],
    entries: Mapping[str, Entry],
    mistakes: Mistakes,
    remarks: Mapping[str, Callable[[object], str | None]],
) -> dict[str, Any]:
    """The values of `entries` as `cls` wants them; what does not fit goes to `mistakes`.

    `remarks` maps a key to a function that may explain why a value is refused although it is of the right
    type, or None.
    """
    hints = get_type_hints(cls, include_extras=True)
    values: dict[str, Any] = {}
    for key, entry in entries.items():
        if key not in hints:
            mistakes.add(entry.place, key, "an unknown key", suggestion(key, hints))
            continue
        remark = remarks.get(key, lambda _: None)(entry.value)
        if remark:
            mistakes.add(entry.place, key, remark, allowed(hints[key]))
            continue
        try:
            values[key] = _convert(hints[key], entry)
        except ValueError:
            mistakes.add(entry.place, key, _told(entry), allowed(hints[key]))
    return values


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to write in place of an unknown `word`: the nearest known one, else all of them."""
    names = list(known)
    near = difflib.get_close_matches(word.lower().replace("-", "_"), names, n=1, cutoff=0.6)
    near = near or difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f"{near[0]} (did you mean that?)" if near else ", ".join(sorted(names))


def allowed(hint: Any) -> str:
    """A field's type in a person's words: `a whole number from 1 to 64`."""
    kind, meta = _unpack(hint)
    if get_origin(kind) is Literal:
        return " | ".join(get_args(kind))
    if kind is bool:
        return "on | off"
    if _is_duration(meta):
        return f"a duration from {duration_text(meta.ge)} to {duration_text(meta.le)}, such as 500ms or 2s"
    if kind is int:
        return f"a whole number from {meta.ge} to {meta.le}"
    return f"a text of up to {meta.max_length} characters" if meta and meta.max_length else "a text"


def _unpack(hint: Any) -> tuple[Any, Any]:
    """`Annotated[int, Meta(...)] | None` -> (int, Meta)."""
    options = [option for option in get_args(hint) if option is not type(None)]
    if type(None) in get_args(hint) and len(options) == 1:
        hint = options[0]
    meta = next((item for item in getattr(hint, "__metadata__", ()) if isinstance(item, msgspec.Meta)), None)
    return getattr(hint, "__origin__", hint) if meta else hint, meta


def _is_duration(meta: Any) -> bool:
    return bool(meta and meta.extra and meta.extra.get("duration"))


def _convert(hint: Any, entry: Entry) -> object:
    kind, meta = _unpack(hint)
    value = entry.value
    if get_origin(kind) is Literal and entry.text in get_args(kind):
        return entry.text  # `pool: null` means the word, not YAML's null
    if _is_duration(meta):
        if not isinstance(value, str) or not meta.ge <= (seconds := duration(value)) <= meta.le:
            raise ValueError(value)
        return seconds
    if value is None:
        raise ValueError(value)  # msgspec would take null where a field is optional: leave the key out
    return msgspec.convert(value, hint, strict=True)


def _told(entry: Entry) -> str:
    kind = {str: "the text ", type(None): "nothing", bool: ""}.get(type(entry.value), "")
    return kind + (repr(entry.text) if isinstance(entry.value, str) else entry.text)


def _text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise Refused(f"{path}: found something that is no regular file; allowed is a YAML file")
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise Refused(f"{str(path)!r}: no file can have this name") from None
    if len(raw) > LARGEST_FILE_BYTES:
        raise Refused(f"{path}: found more than {LARGEST_FILE_BYTES} bytes; no such file needs as many")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise Refused(f"{path}:{line}: found bytes that are not UTF-8; save the file as UTF-8") from None
    return text.removeprefix("\ufeff")


def _entries(path: Path, mapping: yaml.MappingNode) -> Entries:
    mistakes = Mistakes()
    entries: Entries = {}
    for key_node, node in mapping.value:
        place = f"{path}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
        if key in entries:
            first = entries[key].place.rsplit(":", 2)[1]
            mistakes.add(place, key, f"the key a second time (first in line {first})", "each key once")
        elif not isinstance(node, yaml.ScalarNode):
            mistakes.add(place, key, f"a {node.id}", "a plain value")
        else:
            value = scalar(node.value) if node.style is None else node.value
            entries[key] = Entry(value, node.value, place)
    mistakes.raise_any()
    return entries

