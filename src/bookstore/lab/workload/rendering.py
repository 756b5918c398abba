"""Renders a workload as YAML with defaults filled in; the result reads back as the same workload."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bookstore.config.scalars import duration_text
from bookstore.lab.workload.spec import Workload

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9/._-]*|[0-9.]+(ms|s|m|h)")
_WORDS: Final = frozenset({"true", "false", "on", "off", "null"})
_DURATIONS: Final = frozenset({"duration", "warm_up"})


def effective(workload: Workload) -> dict[str, Any]:
    """Return each key that has a value, with durations as text such as `5s`."""
    values = {key: value for key, value in _without_empty(msgspec.to_builtins(workload)).items() if key != "name"}
    if workload.stages:
        del values["duration"]
    if workload.model == "open":
        del values["concurrency"]
    return values


def to_yaml(workload: Workload, origins: Mapping[str, str]) -> str:
    """Return the effective workload as YAML, each key followed by a comment with its place, or `default`."""
    lines = []
    for key, value in effective(workload).items():
        place = origins.get("path" if key == "requests" and key not in origins else key, "default")
        if isinstance(value, list):
            lines += [f"{key}:  # {place}", *(f"  - {_inline(item)}" for item in value)]
        else:
            lines.append(f"{key}: {_inline(value)}  # {place}")
    return "".join(f"{line}\n" for line in lines)


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """Drop null and empty values, and format durations."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list):
            rendered: Any = [_without_empty(item) if isinstance(item, dict) else item for item in value]
        else:
            rendered = duration_text(value) if key in _DURATIONS else value
        if rendered not in (None, [], {}):
            kept[key] = rendered
    return kept


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_inline(key)}: {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str) and (not _PLAIN.fullmatch(value) or value in _WORDS):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
