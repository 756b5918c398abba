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
    "bad_request": ProblemType(400, "Bad request"),
    "invalid_parameter": ProblemType(400, "Invalid parameter"),
    "malformed_body": ProblemType(400, "Malformed request body"),
    "unknown_host": ProblemType(400, "Unknown host"),
    "unauthenticated": ProblemType(401, "Authentication required"),
    "forbidden": ProblemType(403, "Insufficient scope"),
    "not_found": ProblemType(404, "Not found"),
    "method_not_allowed": ProblemType(405, "Method not allowed"),
    "request_timeout": ProblemType(408, "Request timeout"),
    "isbn_taken": ProblemType(409, "ISBN already in use"),
    "name_taken": ProblemType(409, "Name already in use"),
    "in_use": ProblemType(409, "Resource in use"),
    "cursor_expired": ProblemType(410, "Cursor expired"),
    "stale": ProblemType(412, "Resource has changed"),
    "too_large": ProblemType(413, "Request body too large"),
    "uri_too_long": ProblemType(414, "URL too long"),
    "unsupported_media_type": ProblemType(415, "Unsupported media type"),
    "invalid_body": ProblemType(422, "Invalid request body"),
    "idempotency_key_reused": ProblemType(422, "Idempotency key reused"),
    "if_match_required": ProblemType(428, "If-Match required"),
    "too_many_requests": ProblemType(429, "Too many requests"),
    "headers_too_large": ProblemType(431, "Header fields too large"),
    "internal": ProblemType(500, "Internal server error"),
    "db_conflict": ProblemType(503, "Database conflict"),
    "db_timeout": ProblemType(503, "Database timeout"),
    "db_unavailable": ProblemType(503, "Database unavailable"),
    "deadline": ProblemType(503, "Deadline exceeded"),
    "overloaded": ProblemType(503, "Service overloaded"),
    "pool_exhausted": ProblemType(503, "No database connection available"),
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
