"""Scalars in files and in `key=value`: on, off, null, decimal numbers, durations, text."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

from bookstore.config.text import excerpt

DURATION_PATTERN: Final = r"(0|[1-9][0-9]*)(\.[0-9]+)?(ms|s|m|h)"

_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?", re.ASCII)
_DURATION: Final = re.compile(DURATION_PATTERN, re.ASCII)
_SECONDS: Final = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_WORDS: Final[dict[str, object]] = {
    "true": True, "on": True, "false": False, "off": False, "null": None, "~": None, "": None,
}  # fmt: skip
_LONGEST_INTEGER: Final = 300  # digits; Python refuses to read more than 4300


def scalar(text: str) -> object:
    """Parse a plain scalar by YAML 1.2's rules: true, false, on, off, null, decimal numbers; anything else is text.

    So `010`, `0x10`, `1_000`, `2:30`, `yes`, `no`, `.inf` and `True` are texts, which no numeric or boolean key
    accepts.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) <= _LONGEST_INTEGER:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def duration(text: str) -> float:
    """Parse `500ms`, `2s`, `1.5m` or `1h` to seconds. Raises ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"{excerpt(text)}: not a duration")
    seconds = float(Decimal(match[1] + (match[2] or "")) * _SECONDS[match[3]])
    if not math.isfinite(seconds):
        raise ValueError(f"{excerpt(text)}: not a duration")
    return seconds


def duration_text(seconds: float) -> str:
    """Format seconds as the exact inverse of `duration`: 0.5 as `500ms`, 2.0 as `2s`, 3600 as `1h`."""
    exact = Decimal(repr(float(seconds)))
    unit = next((unit for unit in "hm" if exact and not exact % _SECONDS[unit]), "s")
    if 0 < exact < 1:
        unit = "ms"
    number = f"{exact / _SECONDS[unit]:f}"
    return (number.rstrip("0").rstrip(".") if "." in number else number) + unit
