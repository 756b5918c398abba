"""/: where the resources and the documentation are, for people and programs that only know the host."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

import msgspec
from litestar import Response, get

from bookstore.http import authorization
from bookstore.http.problem_details import PROBLEMS_PATH
from bookstore.http.routes import api_docs


class Index(msgspec.Struct, frozen=True):
    """The paths of the lists, of the OpenAPI document, and of the pages about the API and its problem codes."""

    version: str
    books: str
    authors: str
    genres: str
    openapi: str
    documentation: str
    problems: str


_INDEX: Final = Index(
    version("bookstore"), "/books", "/authors", "/genres", f"{api_docs.PATH}/openapi.json", api_docs.PATH, PROBLEMS_PATH
)


@get("/", opt=authorization.PUBLIC, operation_id="getIndex", summary="Find the resources", tags=["Service"])
async def index() -> Response[Index]:
    """Returns the paths of the lists and of the documentation; the `Link` header has the latter too (RFC 8631)."""
    header = f'<{_INDEX.openapi}>; rel="service-desc", <{_INDEX.documentation}>; rel="service-doc"'
    return Response(_INDEX, headers={"Link": header})
