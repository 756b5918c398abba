"""Where a profile's keys come from: `name@key=value,…` -> its file, those it extends, the overrides."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from bookstore.config import scalars, validation, yaml_document
from bookstore.config.resources import profiles
from bookstore.config.text import excerpt
from bookstore.config.validation import SourceValue, SourceValues, Violations
from bookstore.exceptions import ConfigurationError

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NAME_IN_WORDS: Final = "a name of up to 64 lower-case letters, digits, - and _ before .yaml"
# A path may hold an @ of its own; overrides begin where a key follows, without a slash in it.
_OVERRIDES: Final = re.compile(r"@(?=[^/@]*(=|\Z))")
_UNFIT_IN_LABEL: Final = re.compile(r"[^A-Za-z0-9@=,._-]+")
_LONGEST_LABEL: Final = 200
"""Bytes: a label becomes part of file names, which may have 255."""


def names() -> list[str]:
    """The profiles that have a name, sorted: the shipped ones, and those of BOOKSTORE_PROFILES_DIR."""
    return list(profiles())


def label(spec: str) -> str:
    """What reports, folders and application_name call the profile: the file's stem with the overrides.

    Letters that a file name could stumble over become `-`; the description is no part of it. Raises ConfigurationError
    where it gets too long.
    """
    base, given = split(spec)
    items = [item for item in (given or "").split(",") if item and not item.startswith("description=")]
    stem = Path(base).stem if is_path(base) else base
    text = _UNFIT_IN_LABEL.sub("-", "@".join([stem, *filter(None, [",".join(items)])]))
    if len(text) > _LONGEST_LABEL:
        raise ConfigurationError(f"{excerpt(spec)}: found {len(text)} characters; write a file that extends {base}")
    return text


def layers(spec: str, mistakes: Violations) -> list[SourceValues]:
    """The keys that `spec` names, farthest first: the profile extended, the file, the overrides.

    Of an extended profile all is inherited but its description.
    """
    found: list[SourceValues] = []
    seen: list[Path] = []
    place, key, folder = "", "profile", Path()
    while True:
        base, _ = split(spec)
        path = _path(base, folder, place, key, mistakes)
        own = [_own(spec, mistakes), yaml_document.read(path, mistakes) if path else {}]
        parent = own[1].pop("extends", None)
        found += own if key == "profile" else [_without_description(entries) for entries in own]
        if path is None or parent is None:
            return found[::-1]
        if path.resolve() in seen:
            circle = " -> ".join(item.stem for item in [*seen, path])
            mistakes.add(place, key, f"a circle: {circle}", "a profile that does not extend this one")
            return found[::-1]
        seen.append(path.resolve())
        place, key, folder, spec = parent.place, "extends", path.parent, parent.text


def _without_description(entries: SourceValues) -> SourceValues:
    return {key: entry for key, entry in entries.items() if key != "description"}


def split(spec: str) -> tuple[str, str | None]:
    """A name or path, and what stands behind its @; None where nothing does."""
    match = _OVERRIDES.search(spec)
    return (spec[: match.start()], spec[match.end() :]) if match else (spec, None)


def is_path(base: str) -> bool:
    """Whether a profile or workload is meant by its file, not by a shipped one's name."""
    return "/" in base or base.endswith((".yaml", ".yml"))


def _path(base: str, folder: Path, place: str, key: str, mistakes: Violations) -> Path | None:
    """The file of the profile `base`; a relative path starts at `folder`. None with a mistake added."""
    if not is_path(base):
        known = profiles()
        if base in known and _NAME.fullmatch(base):
            return known[base]
        allowed = f"{validation.suggestion(base, list(known))}, or the path of a .yaml file"
        mistakes.add(place, key, f"'{excerpt(base)}', which is no profile", allowed)
    elif not _NAME.fullmatch(Path(base).stem):
        mistakes.add(place, key, f"the file name '{excerpt(Path(base).name)}'", _NAME_IN_WORDS)
    else:
        try:
            return folder / Path(base).expanduser()
        except RuntimeError:
            mistakes.add(place, key, f"'{excerpt(base)}'", "the home of a user who exists")
    mistakes.incomplete = True
    return None


def _own(spec: str, mistakes: Violations) -> SourceValues:
    entries = overrides(spec, mistakes)
    if entries.pop("extends", None):
        mistakes.add(excerpt(spec), "extends", "an override of it", "the base profile's own name before the @")
    return entries


def overrides(spec: str, mistakes: Violations) -> SourceValues:
    """The `key=value,key=value` behind the @ of `spec`."""
    entries: SourceValues = {}
    place = excerpt(spec)
    _, given = split(spec)
    for item in [] if given is None else given.split(","):
        key, equals, text = item.partition("=")
        if not equals or not key:
            mistakes.add(place, item or "@", "no key=value", "name@key=value,key=value")
        elif key in entries:
            mistakes.add(place, key, "the key a second time", "each key once")
        else:
            entries[key] = SourceValue(scalars.scalar(text), text, place)
    return entries
