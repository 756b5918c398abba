"""Who may do what. A route that declares nothing needs a token with the scope `admin`."""

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

# What a handler, controller or router declares: `@post(opt=access.WRITE)`.
PUBLIC: Final[Mapping[str, str]] = {_KEY: _ANYBODY}
WRITE: Final[Mapping[str, str]] = {_KEY: CATALOG_WRITE}
ADMIN: Final[Mapping[str, str]] = {_KEY: ADMIN_SCOPE}

_CHALLENGE: Final = 'Bearer realm="bookstore"'
_LONGEST_PATH: Final = 200

Connection = ASGIConnection[Any, Any, Any, Any]


def scope(handler: BaseRouteHandler) -> str | None:
    """The scope that a token needs for `handler`; None where anybody may ask."""
    needed = str(handler.opt.get(_KEY, ADMIN_SCOPE))
    return None if needed == _ANYBODY else needed


def guard(keyring: Keyring, proxies: Sequence[Network] = ()) -> Guard:
    """Lets a request pass to a handler whose scope its token has; `request.auth` is then the Token, and None
    on a public route.

    Raises ApiError: unauthenticated (401) without a valid token, forbidden (403) where the scope is missing.
    """

    async def check(connection: Connection, handler: BaseRouteHandler) -> None:
        needed = scope(handler)
        # Litestar answers OPTIONS itself, with the methods that a 405 and the OpenAPI document name as well.
        if needed is None or connection.scope.get("method") == "OPTIONS":
            connection.scope["auth"] = None
            return
        presented = _presented(connection)
        token = keyring.find(presented) if presented else None
        if token and token.allows(needed):
            connection.scope["auth"] = token
            return
        sent = f"token {token.name} without {needed}" if token else "unknown token" if presented else "no token"
        fault = _forbidden(token, needed) if token else _unauthenticated("invalid_token" if presented else None)
        address = _address(connection, proxies)
        about = {"code": fault.code, "client": address}
        logger.warning("refused, %s: %s from %s", sent, _route(connection), address, extra=about)
        raise fault

    return check


def _presented(connection: Connection) -> str | None:
    """The token of the only Authorization header; None where there is not one, or it is no bearer's."""
    found = connection.headers.getall("authorization", [])
    scheme, _, token = found[0].partition(" ") if len(found) == 1 else ("", "", "")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _unauthenticated(error: str | None) -> ApiError:
    challenge = f'{_CHALLENGE}, error="{error}"' if error else _CHALLENGE
    detail = "This needs a valid token, in one header: Authorization: Bearer TOKEN."
    return ApiError("unauthenticated", detail, headers={"WWW-Authenticate": challenge})


def _forbidden(token: Token, needed: str) -> ApiError:
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{needed}"'
    detail = f"The token has the scope {', '.join(token.scopes)}; this needs {needed}."
    return ApiError("forbidden", detail, headers={"WWW-Authenticate": challenge})


def _route(connection: Connection) -> str:
    return f"{connection.scope.get('method')} {excerpt(connection.scope['path'], _LONGEST_PATH)}"


def _address(connection: Connection, proxies: Sequence[Network]) -> str:
    peer = connection.scope["client"]
    forwarded = [value for name, value in connection.scope["headers"] if name == b"x-forwarded-for"]
    return client(peer[0] if peer else "unknown", forwarded, proxies)
