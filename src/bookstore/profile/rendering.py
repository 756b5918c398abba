"""The effective profile as text: every key with its value as a file would write it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_type_hints

import yaml

from bookstore.config import scalars
from bookstore.config.validation import is_duration, unpacked
from bookstore.profile.engine_profile import KEYS, POOL_KEYS, EngineProfile


def to_yaml(profile: EngineProfile) -> str:
    """The effective profile as a file would say it, defaults filled; it loads back as the same profile."""
    told = effective(profile)
    told["description"] = _quoted(told["description"])
    return "".join(f"{key}: {text}\n" for key, text in told.items())


def _quoted(text: str) -> str:
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)).rstrip("\n")


def effective(profile: EngineProfile) -> dict[str, str]:
    """Every key with its value as a file would say it; `threads` only where the driver has some."""
    return dict(_effective(profile))


def _effective(profile: EngineProfile) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(EngineProfile, include_extras=True)
    for key in KEYS:
        value = profile.thread_count or None if key == "threads" else getattr(profile, key)
        if value is None or (profile.pool == "null" and key in POOL_KEYS):
            continue
        yield key, as_text(hints[key], value)


def as_text(hint: Any, value: Any) -> str:
    """A field's value as a file would say it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if is_duration(unpacked(hint)[1]):
        return scalars.duration_text(value)
    return str(value)
