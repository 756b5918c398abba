"""Access control by token scope. A route that declares nothing requires the scope `admin`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from bookstore.auth.keyring import Keyring
from bookstore.auth.tokens import ADMIN as ADMIN_SCOPE
from bookstore.auth.tokens import CATALOG_WRITE, Token
from bookstore.config.request_policy import Network
from bookstore.config.text import excerpt
from bookstore.exceptions import ApiError
from bookstore.http.client_address import client

logger = logging.getLogger("bookstore")

_KEY: Final = "access"
_ANYBODY: Final = "anybody"

# Declared by a handler, controller or router: `@post(opt=authorization.WRITE)`.
PUBLIC: Final[Mapping[str, str]] = {_KEY: _ANYBODY}
WRITE: Final[Mapping[str, str]] = {_KEY: CATALOG_WRITE}
ADMIN: Final[Mapping[str, str]] = {_KEY: ADMIN_SCOPE}

_CHALLENGE: Final = 'Bearer realm="bookstore"'
_LONGEST_PATH: Final = 200

Connection = ASGIConnection[Any, Any, Any, Any]


def required_scope(handler: BaseRouteHandler) -> str | None:
    """Return the scope that `handler` requires, or None if it is public."""
    needed = str(handler.opt.get(_KEY, ADMIN_SCOPE))
    return None if needed == _ANYBODY else needed


def guard(keyring: Keyring, proxies: Sequence[Network] = ()) -> Guard:
    """Return a guard that admits requests whose token has the handler's scope.

    It sets `request.auth` to the Token, or to None on a public route without a token. Raises ApiError
    `unauthenticated` (401) without a valid token, and on a public route with an invalid one, so that a client notices
    its mistake before its first write. Raises `forbidden` (403) if the token lacks the scope.
    """

    async def check(connection: Connection, handler: BaseRouteHandler) -> None:
        needed = required_scope(handler)
        # Litestar answers OPTIONS itself. It reveals only the methods, which 405 and the OpenAPI document list too.
        is_open = needed is None and "authorization" not in connection.headers
        if is_open or connection.scope.get("method") == "OPTIONS":
            connection.scope["auth"] = None
            return
        presented = _bearer_token(connection)
        token = keyring.find(presented) if presented else None
        if token and (needed is None or token.allows(needed)):
            connection.scope["auth"] = token
            return
        sent = f"token {token.name} without {needed}" if token else "unknown token" if presented else "no token"
        challenge = "invalid_token" if presented else None
        error = _forbidden_error(token, str(needed)) if token else _unauthenticated_error(challenge)
        address = _client_address(connection, proxies)
        fields = {"code": error.code, "client": address}
        logger.warning("refused, %s: %s from %s", sent, _describe_request(connection), address, extra=fields)
        raise error

    return check


def _bearer_token(connection: Connection) -> str | None:
    """Return the bearer token, or None unless there is exactly one Authorization header with that scheme."""
    values = connection.headers.getall("authorization", [])
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _unauthenticated_error(error: str | None) -> ApiError:
    challenge = f'{_CHALLENGE}, error="{error}"' if error else _CHALLENGE
    detail = "Send a valid token in a single header, Authorization: Bearer TOKEN. Reading works without that header."
    return ApiError("unauthenticated", detail, headers={"WWW-Authenticate": challenge})


def _forbidden_error(token: Token, needed: str) -> ApiError:
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{needed}"'
    detail = f"The token has the scope {', '.join(token.scopes)}; this request requires {needed}."
    return ApiError("forbidden", detail, headers={"WWW-Authenticate": challenge})


def _describe_request(connection: Connection) -> str:
    return f"{connection.scope.get('method')} {excerpt(connection.scope['path'], _LONGEST_PATH)}"


def _client_address(connection: Connection, proxies: Sequence[Network]) -> str:
    peer = connection.scope["client"]
    forwarded = [value for name, value in connection.scope["headers"] if name == b"x-forwarded-for"]
    return client(peer[0] if peer else "unknown", forwarded, proxies)
