"""The two errors that this package raises on purpose: one for operators, one for clients of the API.

`ConfigurationError` is for a person at a terminal, `ApiError` for a client of the API. The codes of PROBLEM_TYPES are
a promise to clients: docs/problems.md documents them, and a code never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

EXIT_REFUSED: Final = 2
"""Exit code of a command that refused its input before it started anything."""


class ConfigurationError(Exception):
    """A wrong setting, file, option or state that prevents startup.

    The text says what was found, where, what is allowed and what to do. The commands print it without a traceback
    and exit with EXIT_REFUSED.
    """


class ProblemType(NamedTuple):
    """The HTTP status and the title of one problem code (RFC 9457)."""

    status: int
    title: str


PROBLEM_TYPES: Final[Mapping[str, ProblemType]] = {
    "bad_request": ProblemType(400, "The request cannot be understood"),
    "invalid_parameter": ProblemType(400, "A parameter is not valid"),
    "malformed_body": ProblemType(400, "The body cannot be read"),
    "unknown_host": ProblemType(400, "The host is not served here"),
    "unauthenticated": ProblemType(401, "A valid token is needed"),
    "forbidden": ProblemType(403, "The token does not allow this"),
    "not_found": ProblemType(404, "Not found"),
    "method_not_allowed": ProblemType(405, "The method is not allowed here"),
    "request_timeout": ProblemType(408, "The request took too long to arrive"),
    "isbn_taken": ProblemType(409, "Another book has this ISBN"),
    "name_taken": ProblemType(409, "The name is in use"),
    "in_use": ProblemType(409, "Books still refer to it"),
    "stale": ProblemType(412, "It was changed meanwhile"),
    "too_large": ProblemType(413, "The body is too large"),
    "uri_too_long": ProblemType(414, "The URL is too long"),
    "unsupported_media_type": ProblemType(415, "The body is of a kind that is not taken here"),
    "invalid_body": ProblemType(422, "The body is not valid"),
    "idempotency_key_reused": ProblemType(422, "The Idempotency-Key belongs to another request"),
    "if_match_required": ProblemType(428, "If-Match is needed"),
    "too_many_requests": ProblemType(429, "Too many requests"),
    "internal": ProblemType(500, "A bug of the service"),
    "db_conflict": ProblemType(503, "The database is busy with the same data"),
    "db_timeout": ProblemType(503, "The database took too long"),
    "db_unavailable": ProblemType(503, "The database cannot be used for now"),
    "deadline": ProblemType(503, "The request took too long"),
    "overloaded": ProblemType(503, "The service has more to do than it takes on"),
    "pool_exhausted": ProblemType(503, "All database connections are in use"),
}


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One invalid body member (`pointer`, RFC 6901), query parameter or header."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None


class ApiError(Exception):
    """A request that is answered with the problem `code` of PROBLEM_TYPES. Any layer below the routes may raise it.

    `detail` is a sentence for the client: what was found and what is allowed. `errors` name each invalid field.
    `headers` are added to the response.
    """

    def __init__(self, code: str, detail: str, *errors: FieldError, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.problem_type = PROBLEM_TYPES[code]
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
