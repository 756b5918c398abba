"""The id of a request: its client's or a new one, on each of its lines in the log, and in its answer."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

HEADER: Final = b"x-request-id"

_ACCEPTED: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("REQUEST_ID", default=None)
_SCOPE: Final[ContextVar[Mapping[str, Any]]] = ContextVar("SCOPE", default={})  # noqa: B039 - nobody writes it

_IS_LOGGED: Final[ContextVar[bool]] = ContextVar("IS_LOGGED", default=False)


def begin(sent: bytes | None, scope: Mapping[str, Any]) -> str:
    """The id of the request with this ASGI `scope`, which begins here, to the end of its task: `sent` where that can
    be one, else random."""
    taken = sent is not None and _ACCEPTED.fullmatch(sent)
    request_id = taken[0].decode() if taken else secrets.token_hex(16)
    _REQUEST_ID.set(request_id)
    _SCOPE.set(scope)
    return request_id


def current() -> str | None:
    """The id of the request in whose course the code runs, in a thread of the Database's too."""
    return _REQUEST_ID.get()


def end_logged() -> None:
    """Says that the error which now goes to the server is in the log."""
    _IS_LOGGED.set(True)


def is_logged() -> bool:
    """Whether the error that the server tells of is in the log already."""
    return _IS_LOGGED.get()


def route() -> str | None:
    """The template of its path, once the router has found it."""
    return _SCOPE.get().get("path_template")
