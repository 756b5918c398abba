"""What a person can mend: refused before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

EXIT_REFUSED: Final = 2


class Refused(Exception):  # noqa: N818 - it is an answer, not an accident
    """Bad input or a state that forbids the start; its text says what was found, where, what is allowed
    and what to do. The commands print it without a traceback and end with EXIT_REFUSED."""


class Kind(NamedTuple):
    status: int
    title: str


KINDS: Final[Mapping[str, Kind]] = {
    "bad_request": Kind(400, "The request cannot be understood"),
    "invalid_parameter": Kind(400, "A parameter is not valid"),
    "malformed_body": Kind(400, "The body cannot be read"),
    "unknown_host": Kind(400, "The host is not served here"),
    "unauthenticated": Kind(401, "A valid token is needed"),
    "forbidden": Kind(403, "The token does not allow this"),
    "not_found": Kind(404, "Not found"),
    "method_not_allowed": Kind(405, "The method is not allowed here"),
    "request_timeout": Kind(408, "The request took too long to arrive"),
    "isbn_taken": Kind(409, "Another book has this ISBN"),
    "name_taken": Kind(409, "The name is in use"),
    "in_use": Kind(409, "Books still refer to it"),
    "stale": Kind(412, "It was changed meanwhile"),
    "too_large": Kind(413, "The body is too large"),
    "uri_too_long": Kind(414, "The URL is too long"),
    "unsupported_media_type": Kind(415, "The body is of a kind that is not taken here"),
    "invalid_body": Kind(422, "The body is not valid"),
    "idempotency_key_reused": Kind(422, "The Idempotency-Key belongs to another request"),
    "if_match_required": Kind(428, "If-Match is needed"),
    "too_many_requests": Kind(429, "Too many requests"),
    "internal": Kind(500, "A bug of the service"),
    "db_conflict": Kind(503, "The database is busy with the same data"),
    "db_timeout": Kind(503, "The database took too long"),
    "db_unavailable": Kind(503, "The database cannot be used for now"),
    "deadline": Kind(503, "The request took too long"),
    "overloaded": Kind(503, "The service has more to do than it takes on"),
    "pool_exhausted": Kind(503, "All database connections are in use"),
}


class Mistake(msgspec.Struct, frozen=True, omit_defaults=True):
    """One wrong member of the body (`pointer`, RFC 6901), query parameter or header."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None


class Fault(Exception):  # noqa: N818 - an answer to a client, not an error of ours
    """A request that is answered with the problem `code` of KINDS.

    `detail` is a sentence for the one who sent it: what was found, what is allowed. `headers` go into the
    response.
    """

    def __init__(self, code: str, detail: str, *mistakes: Mistake, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.kind = KINDS[code]
        self.detail = detail
        self.mistakes = mistakes
        self.headers = dict(headers or {})
