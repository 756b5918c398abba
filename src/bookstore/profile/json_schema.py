"""The JSON Schema of profile files, for completion and validation in editors."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from bookstore.config.scalars import DURATION_PATTERN
from bookstore.config.validation import is_duration, unpack_hint
from bookstore.profile.engine_profile import KEYS, EngineProfile
from bookstore.profile.rendering import as_text

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EXTENDS: Final = (
    "Another profile, by name or by path relative to this file; it supplies every key that this file "
    "does not set, except the description."
)
_NO_THREADS: Final = "pool_size + max_overflow with psycopg-sync, none with the other drivers"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of profile files, for single keys; `profiles check` covers combinations."""
    properties = {key: _property(key) for key in KEYS}
    properties["extends"] = {"description": _EXTENDS, "type": "string", "minLength": 1}
    return {
        "$schema": _DIALECT,
        "title": "Bookstore engine profile",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def default(key: str) -> str:
    """Return the default of `key` as a file would contain it: `5`, `2s`, `off`."""
    value = getattr(EngineProfile(name=""), key)
    if value is None:
        return _NO_THREADS
    return as_text(_hint(key), value) or "none"


def meaning(key: str) -> str:
    """Return the description of `key`."""
    return str(unpack_hint(_hint(key))[1].description)


def _property(key: str) -> dict[str, Any]:
    kind, meta = unpack_hint(_hint(key))
    return {"description": f"{meaning(key)} Default: {default(key)}.", **_type(kind, meta)}


def _type(kind: Any, meta: msgspec.Meta) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        words = list(get_args(kind))
        return {"enum": [*words, None] if "null" in words else words}  # a bare null in YAML is no string
    if kind is bool:
        return {"enum": [True, False, "on", "off"]}
    if is_duration(meta):
        return {"type": "string", "pattern": f"^{DURATION_PATTERN}$"}
    if kind is int:
        return {"type": "integer", "minimum": meta.ge, "maximum": meta.le}
    return {"type": "string", "maxLength": meta.max_length}


def _hint(key: str) -> Any:
    return get_type_hints(EngineProfile, include_extras=True)[key]
