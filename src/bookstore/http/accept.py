"""Content negotiation by Accept (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_LONGEST: Final = 1024
_RANGE: Final = re.compile(r"\s*([a-z0-9!#$&^_.+*-]+/[a-z0-9!#$&^_.+*-]+)\s*(?:;(.*))?", re.DOTALL)
_WEIGHT: Final = re.compile(r"(?:^|;)\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*(?:;|$)")


def choose(accept: str | None, offered: tuple[str, ...]) -> str:
    """Return the media type of `offered` that the client prefers; the first of several equal ones.

    Without Accept, and if the client accepts none, it is the first of all, which is more useful than an error.
    """
    if accept is None or len(accept) > _LONGEST:
        return offered[0]
    return _choose(accept.lower(), offered)


@lru_cache(maxsize=256)
def _choose(accept: str, offered: tuple[str, ...]) -> str:
    weights: dict[str, float] = {}
    for part in accept.split(","):
        if match := _RANGE.fullmatch(part):  # malformed parts are ignored
            weight = _WEIGHT.search(match[2] or "")
            weights[match[1]] = min(1.0, float(weight[1])) if weight else 1.0

    def weight_of(media_type: str) -> float:
        """Return the weight of the most specific range that covers the type."""
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        return next((weights[name] for name in ranges if name in weights), 0.0)

    return max(offered, key=weight_of)
