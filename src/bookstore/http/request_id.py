"""The request id: sent by the client or generated, logged with each line of the request and sent in the response."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

HEADER: Final = b"x-request-id"

_ACCEPTED: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("REQUEST_ID", default=None)
_SCOPE: Final[ContextVar[Mapping[str, Any]]] = ContextVar("SCOPE", default={})  # noqa: B039 - never modified

_IS_LOGGED: Final[ContextVar[bool]] = ContextVar("IS_LOGGED", default=False)


def begin(sent: bytes | None, scope: Mapping[str, Any]) -> str:
    """Start the request with this ASGI `scope` in the current task, and return its id: `sent` if valid, else random."""
    accepted = sent is not None and _ACCEPTED.fullmatch(sent)
    request_id = accepted[0].decode() if accepted else secrets.token_hex(16)
    _REQUEST_ID.set(request_id)
    _SCOPE.set(scope)
    return request_id


def current() -> str | None:
    """Return the id of the current request, also within a thread of the Database."""
    return _REQUEST_ID.get()


def mark_logged() -> None:
    """Record that the error which is about to reach the server is already logged."""
    _IS_LOGGED.set(True)


def is_logged() -> bool:
    """Return whether the error that the server reports is already logged."""
    return _IS_LOGGED.get()


def route() -> str | None:
    """Return the path template of the current request, once it is routed."""
    return _SCOPE.get().get("path_template")
