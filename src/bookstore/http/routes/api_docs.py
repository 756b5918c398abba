"""/schema: the OpenAPI document and Swagger UI, both served by the service itself."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from typing import Any, Final

from litestar import MediaType, Request, Response, Router, get
from litestar.datastructures import CacheControlHeader, ResponseHeader
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.routes import BaseRoute
from litestar.types import ControllerRouterHandler

from bookstore.http import authorization
from bookstore.http.openapi import operations
from bookstore.http.openapi.document import document
from bookstore.http.routes import responses

PATH: Final = "/schema"

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded from elsewhere and no code is inline. `data:` is for the icons in the style sheet."""

_CACHED: Final = CacheControlHeader(public=True, max_age=24 * 60 * 60)
_TYPES: Final = {".js": "text/javascript", ".css": "text/css"}


def config() -> OpenAPIConfig:
    """Return Litestar's configuration: the page at /schema, the document at /schema/openapi.json."""
    policy = ResponseHeader(name="Content-Security-Policy", value=_POLICY)
    router = _Router(
        PATH, route_handlers=[], include_in_schema=False, opt=authorization.PUBLIC, response_headers=[policy]
    )
    return operations.config(openapi_router=router, render_plugins=[_Page(), _Document()])


class _Router(Router):
    """Omits Litestar's page for unknown paths below /schema, so that they are problems as everywhere else."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:
        return [] if "/{path:str}" in getattr(value, "paths", ()) else super().register(value)


class _Document(OpenAPIRenderPlugin):
    def __init__(self) -> None:
        super().__init__(path="/openapi.json", media_type=MediaType.JSON)
        self._rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> Any:  # noqa: ARG002 - Litestar's
        if self._rendered is None:
            self._rendered = self.render_json(request, document(request.app))
        return responses.document(request, self._rendered, MediaType.JSON)


class _Page(OpenAPIRenderPlugin):
    def __init__(self) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002 - Litestar's
        return _read_file("index.html")

    def receive_router(self, router: Router) -> None:
        for name in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js"):
            router.register(_file_handler(name))


def _file_handler(name: str) -> HTTPRouteHandler:
    """Return a handler for one of the page's files."""
    media_type = _TYPES[name[name.rindex(".") :]]

    @get(f"/{name}", media_type=media_type, cache_control=_CACHED)
    async def file(request: Request[Any, Any, Any]) -> Response[bytes]:
        if "gzip" in request.headers.get("accept-encoding", ""):
            packed, headers = _read_gzipped(name), {"Content-Encoding": "gzip"}
            return Response(packed, headers=headers)
        return Response(_read_file(name))

    return file


@cache
def _read_gzipped(name: str) -> bytes:
    folder = files("bookstore") / "http" / "routes" / "swagger_ui"
    packed = folder / f"{name}.gz"
    return packed.read_bytes() if packed.is_file() else gzip.compress((folder / name).read_bytes())


@cache
def _read_file(name: str) -> bytes:
    return gzip.decompress(_read_gzipped(name))
