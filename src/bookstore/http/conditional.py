"""Conditional requests (RFC 9110, 13): has the client this state already, is it the one that a write meant?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from bookstore.exceptions import ApiError, FieldError
from bookstore.http.compression import plain_etag

PATTERN: Final = r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'
"""If-Match as the OpenAPI document tells it; what does not follow it is answered as a tag of nothing."""

_TAGS: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')


def http_date(seconds: int) -> str:
    """Seconds since 1970 as Last-Modified writes them."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def is_known(headers: Mapping[str, str], tag: str, changed_at: int | None) -> bool:
    """Whether a client who sent `headers` with a GET has the state `tag` (If-None-Match), or where it told
    no tag, what was there at `changed_at` (If-Modified-Since): the answer is 304 then."""
    if (sent := headers.get("if-none-match")) is not None:
        return sent.strip() == "*" or tag in (found for _, found in _tags(sent))
    if changed_at is None or (sent := headers.get("if-modified-since")) is None:
        return False
    try:
        return changed_at <= parsedate_to_datetime(sent).timestamp()
    except (ValueError, OverflowError):  # as if it had not been sent
        return False


def is_conditional(headers: Mapping[str, str]) -> bool:
    """Whether a GET asks only for what the client has not."""
    return "if-none-match" in headers or "if-modified-since" in headers


def check_match(if_match: str | None, tag: str) -> None:
    """Raises ApiError `stale` where a write with this If-Match meant another state than `tag`. Weak tags match
    nothing."""
    if if_match is None or if_match.strip() == "*":
        return
    if tag not in (found for weak, found in _tags(if_match) if not weak):
        raise ApiError(
            "stale",
            f'If-Match: found {if_match[:100]}, but the state is "{tag}" now; read it again and repeat the change.',
            FieldError("not the state that is there now", header="If-Match"),
            headers={"ETag": f'"{tag}"'},
        )


def required(if_match: str | None) -> str:
    """The If-Match of a write that needs one. Raises ApiError `if_match_required`."""
    if if_match is None:
        raise ApiError(
            "if_match_required",
            "Send the ETag of the state that is to be changed as If-Match, so that nobody's change is lost.",
            FieldError("missing", header="If-Match"),
        )
    return if_match


def _tags(text: str) -> list[tuple[bool, str]]:
    """(is it weak, the tag) for each; none where the text is not a list of tags."""
    text = plain_etag(text)
    tags, position = [], 0
    while position < len(text):
        match = _TAGS.match(text, position)
        if match is None:
            return []
        tags.append((match[1] is not None, match[2]))
        position = match.end()
    return tags
