"""The layers of a profile: resolves `name@key=value,…` to its file, the profiles it extends and the overrides."""

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
# A path may contain an @; overrides begin at an @ that a key without a slash follows.
_OVERRIDES: Final = re.compile(r"@(?=[^/@]*(=|\Z))")
_UNFIT_IN_LABEL: Final = re.compile(r"[^A-Za-z0-9@=,._-]+")
_LONGEST_LABEL: Final = 200
"""In bytes. A label becomes part of file names, which are limited to 255 bytes."""


def names() -> list[str]:
    """Return the names of the shipped profiles and of those in BOOKSTORE_PROFILES_DIR, sorted."""
    return list(profiles())


def label(spec: str) -> str:
    """Return the profile's name in reports, folders and application_name: the file's stem with the overrides.

    Characters that are unsafe in file names become `-`; an overridden description is left out. Raises
    ConfigurationError if the label is too long.
    """
    base, override_text = split(spec)
    items = [item for item in (override_text or "").split(",") if item and not item.startswith("description=")]
    stem = Path(base).stem if is_path(base) else base
    text = _UNFIT_IN_LABEL.sub("-", "@".join([stem, *filter(None, [",".join(items)])]))
    if len(text) > _LONGEST_LABEL:
        raise ConfigurationError(f"{excerpt(spec)}: found {len(text)} characters; write a file that extends {base}")
    return text


def layers(spec: str, violations: Violations) -> list[SourceValues]:
    """Return the layers of `spec`, farthest first: extended profile, file, overrides.

    Every key of an extended profile is inherited except its description. Problems go to `violations`.
    """
    nearest_first: list[SourceValues] = []
    visited: list[Path] = []
    place, key, folder = "", "profile", Path()
    while True:
        base, _ = split(spec)
        path = _resolve(base, folder, place, key, violations)
        own = [_override_layer(spec, violations), yaml_document.read(path, violations) if path else {}]
        parent = own[1].pop("extends", None)
        nearest_first += own if key == "profile" else [_without_description(entries) for entries in own]
        if path is None or parent is None:
            return nearest_first[::-1]
        if path.resolve() in visited:
            circle = " -> ".join(item.stem for item in [*visited, path])
            violations.add(place, key, f"a circle: {circle}", "a profile that does not extend this one")
            return nearest_first[::-1]
        visited.append(path.resolve())
        place, key, folder, spec = parent.place, "extends", path.parent, parent.text


def _without_description(entries: SourceValues) -> SourceValues:
    return {key: entry for key, entry in entries.items() if key != "description"}


def split(spec: str) -> tuple[str, str | None]:
    """Split `spec` into a name or path and the text after its @; None if there is no @."""
    match = _OVERRIDES.search(spec)
    return (spec[: match.start()], spec[match.end() :]) if match else (spec, None)


def is_path(base: str) -> bool:
    """Whether `base` is a path to a profile or workload file rather than a name."""
    return "/" in base or base.endswith((".yaml", ".yml"))


def _resolve(base: str, folder: Path, place: str, key: str, violations: Violations) -> Path | None:
    """Return the file of the profile `base`, relative paths from `folder`; None, with a violation, if there is none."""
    if not is_path(base):
        known = profiles()
        if base in known and _NAME.fullmatch(base):
            return known[base]
        allowed = f"{validation.suggestion(base, list(known))}, or the path of a .yaml file"
        violations.add(place, key, f"'{excerpt(base)}', which is not a profile", allowed)
    elif not _NAME.fullmatch(Path(base).stem):
        violations.add(place, key, f"the file name '{excerpt(Path(base).name)}'", _NAME_IN_WORDS)
    else:
        try:
            return folder / Path(base).expanduser()
        except RuntimeError:
            violations.add(place, key, f"'{excerpt(base)}'", "the home of an existing user")
    violations.incomplete = True
    return None


def _override_layer(spec: str, violations: Violations) -> SourceValues:
    entries = overrides(spec, violations)
    if entries.pop("extends", None):
        violations.add(excerpt(spec), "extends", "an override of it", "the name of the base profile before the @")
    return entries


def overrides(spec: str, violations: Violations) -> SourceValues:
    """Return the `key=value,key=value` after the @ of `spec`; malformed items go to `violations`."""
    entries: SourceValues = {}
    place = excerpt(spec)
    _, override_text = split(spec)
    for item in [] if override_text is None else override_text.split(","):
        key, equals, text = item.partition("=")
        if not equals or not key:
            violations.add(place, item or "@", "no key=value", "name@key=value,key=value")
        elif key in entries:
            violations.add(place, key, "the key a second time", "each key once")
        else:
            entries[key] = SourceValue(scalars.scalar(text), text, place)
    return entries
