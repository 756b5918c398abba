"""The effective profile as text: every key with its value as in a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_type_hints

import yaml

from bookstore.config import scalars
from bookstore.config.validation import is_duration, unpack_hint
from bookstore.profile.engine_profile import KEYS, POOL_KEYS, EngineProfile


def to_yaml(profile: EngineProfile) -> str:
    """Return the effective profile as YAML, with all defaults. Loading it gives the same profile."""
    values = effective_values(profile)
    values["description"] = _quote(values["description"])
    return "".join(f"{key}: {text}\n" for key, text in values.items())


def _quote(text: str) -> str:
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)).rstrip("\n")


def effective_values(profile: EngineProfile) -> dict[str, str]:
    """Return the text of every key that has an effect: without `threads` on an async driver, without pool keys where
    there is no pool."""
    return dict(_iter_values(profile))


def _iter_values(profile: EngineProfile) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(EngineProfile, include_extras=True)
    for key in KEYS:
        value = profile.thread_count or None if key == "threads" else getattr(profile, key)
        if value is None or (profile.pool == "null" and key in POOL_KEYS):
            continue
        yield key, as_text(hints[key], value)


def as_text(hint: Any, value: Any) -> str:
    """Return `value`, of the type `hint`, as a file would contain it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if is_duration(unpack_hint(hint)[1]):
        return scalars.duration_text(value)
    return str(value)
