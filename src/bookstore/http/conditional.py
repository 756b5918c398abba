"""Conditional requests (RFC 9110, section 13): If-None-Match and If-Modified-Since for reads, If-Match for writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from bookstore.exceptions import ApiError, FieldError
from bookstore.http.compression import plain_etag

PATTERN: Final = r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'
"""If-Match in the OpenAPI document, for clients. The service also ignores empty list elements (RFC 9110, 5.6.1)."""

_TAGS: Final = re.compile(r'[\s,]*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,[\s,]*|$)')


def http_date(seconds: int) -> str:
    """Format seconds since 1970 as an HTTP date."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def is_known(headers: Mapping[str, str], tag: str, changed_at: int | None) -> bool:
    """Return whether the client's copy is current, so that the response is 304.

    It is if If-None-Match contains `tag` or, without that header, if If-Modified-Since is not before `changed_at`
    (seconds since 1970).
    """
    if (sent := headers.get("if-none-match")) is not None:
        return sent.strip() == "*" or tag in (opaque for _, opaque in _parse_tags(sent))
    if changed_at is None or (sent := headers.get("if-modified-since")) is None:
        return False
    try:
        return changed_at <= parsedate_to_datetime(sent).timestamp()
    except (ValueError, OverflowError):  # an invalid date is ignored
        return False


def is_conditional(headers: Mapping[str, str]) -> bool:
    """Return whether a GET is conditional."""
    return "if-none-match" in headers or "if-modified-since" in headers


def check_match(if_match: str | None, tag: str) -> None:
    """Raise ApiError `stale` unless If-Match is absent, `*` or contains `tag`. Weak tags never match."""
    if if_match is None or if_match.strip() == "*":
        return
    if tag not in (opaque for is_weak, opaque in _parse_tags(if_match) if not is_weak):
        raise ApiError(
            "stale",
            f'If-Match is {if_match[:100]}, but the current ETag is "{tag}"; read the resource again and repeat the '
            "change.",
            FieldError("Does not match the current ETag.", header="If-Match"),
            headers={"ETag": f'"{tag}"'},
        )


def require_if_match(if_match: str | None) -> str:
    """Return `if_match`. Raises ApiError `if_match_required` if it is None."""
    if if_match is None:
        raise ApiError(
            "if_match_required",
            "Send the ETag of the version to change as If-Match. This prevents lost updates.",
            FieldError("This header is required.", header="If-Match"),
        )
    return if_match


def _parse_tags(text: str) -> list[tuple[bool, str]]:
    """Return (is weak, opaque tag) for each tag, or nothing if `text` is not a list of tags."""
    text = plain_etag(text)
    tags, position = [], 0
    while position < len(text):
        match = _TAGS.match(text, position)
        if match is None:
            return []
        tags.append((match[1] is not None, match[2]))
        position = match.end()
    return tags
