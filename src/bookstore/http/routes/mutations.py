"""What writing has in common: bodies, conditions, idempotency keys, and answers after the commit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.params import HeaderParameter, QueryParameter
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.inputs import AuthorInput, BookBatch, BookInput, GenreInput
from bookstore.catalog.repositories import IdempotencyRepository, NamedEntityRepository
from bookstore.database.unit_of_work import Database
from bookstore.exceptions import ApiError, FieldError
from bookstore.http import conditional, request_body
from bookstore.http.routes import responses

D = TypeVar("D", BookInput, AuthorInput, GenreInput)
Check = Callable[[str], None]
Change = Callable[[Session, Check], schemas.Representation | None]
Removal = Callable[[Session, Check], bool]

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description="The ETag of the state that is meant, or `*`; another one is not changed (412).",
        schema_extra={"pattern": conditional.PATTERN, "examples": ["*"]},
    ),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        pattern="^[!-~]{1,255}$",
        description="A text of the client's, new for each thing to make: for 24 hours the same request with the same "
        "key makes nothing more and gets the same answer.",
    ),
]
Detach = Annotated[
    bool, QueryParameter(description="Whether books that refer to it lose it; without, that is refused.")
]


async def draft(request: Request[Any, Any, Any], kind: type[D]) -> D:
    """The body as a draft of this kind. Raises ApiError for what is wrong with it."""
    return request_body.convert(await _document(request, request_body.JSON), kind).validate()


async def batch(request: Request[Any, Any, Any]) -> list[BookInput]:
    """The body as the drafts of many books. Raises ApiError for what is wrong with it."""
    return request_body.convert(await _document(request, request_body.JSON), BookBatch).validate()


async def edit(request: Request[Any, Any, Any], kind: type[D]) -> Callable[[D], D]:
    """The body, a merge patch (RFC 7396), as what it makes of a draft. Raises ApiError for what is wrong with it."""
    patch = await _document(request, request_body.MERGE_PATCH, request_body.JSON)
    if not isinstance(patch, dict):
        raise ApiError("invalid_body", "A merge patch is an object.", FieldError("An object is needed.", pointer=""))

    def edited(was: D) -> D:
        return request_body.convert(_merged(msgspec.to_builtins(was), patch), kind).validate()

    return edited


def _merged(document: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """Drafts are flat: a member of the patch takes the place of the draft's, null takes it away."""
    whole = {**document, **patch}
    return {name: value for name, value in whole.items() if value is not None or name not in document}


async def _document(request: Request[Any, Any, Any], *accepted: str) -> object:
    headers = request.headers
    return request_body.parse(
        await request.body(), headers.get("content-type"), accepted, headers.get("content-encoding")
    )


async def create(
    request: Request[Any, Any, Any],
    database: Database,
    key: str | None,
    make: Callable[[Session], schemas.StoredResponse],
) -> Response[Any]:
    """The answer of `make`, committed; with an Idempotency-Key `key` the one that was given before."""
    asked = _digest(request, await request.body())

    def work(session: Session) -> schemas.StoredResponse:
        if key is None:
            return make(session)
        keys = IdempotencyRepository(session, request.auth.name, key)
        if kept := keys.claim(asked):
            return msgspec.structs.replace(kept, replayed=True)
        answer = make(session)
        keys.store(answer)
        return answer

    answer = await database.run(work)
    headers = {**answer.headers, "Idempotency-Replayed": "true"} if answer.replayed else answer.headers
    return Response(answer.body, status_code=answer.status, headers=headers)


def created(path: str, of: int, seen: schemas.Representation | None) -> schemas.StoredResponse:
    """201 with what was made, the resource `of` at `path`."""
    assert seen is not None
    headers = responses.validators(seen) | {"Location": f"{path}/{of}"}
    return schemas.StoredResponse(201, headers, msgspec.Raw(msgspec.json.encode(seen.body)))


def made(body: msgspec.Struct) -> schemas.StoredResponse:
    """201 with what is said of several new resources."""
    return schemas.StoredResponse(201, {"Cache-Control": "no-store"}, msgspec.Raw(msgspec.json.encode(body)))


async def change(database: Database, if_match: str | None, work: Change, missing: str) -> Response[Any]:
    """What `work` made of a resource, committed. Raises ApiError: if_match_required, stale, not_found."""
    meant = conditional.required(if_match)
    seen = await database.run(lambda session: work(session, lambda tag: conditional.check_match(meant, tag)))
    if seen is None:
        raise ApiError("not_found", missing)
    return Response(seen.body, headers=responses.validators(seen))


async def create_named(
    request: Request[Any, Any, Any],
    database: Database,
    key: str | None,
    repository: type[NamedEntityRepository[Any]],
    draft: msgspec.Struct,
    path: str,
) -> Response[Any]:
    """201 with a new author or genre."""

    def make(session: Session) -> schemas.StoredResponse:
        rows = repository(session)
        of = rows.create(draft)
        return created(path, of, rows.find(of))

    return await create(request, database, key, make)


async def change_named(
    database: Database,
    if_match: str | None,
    repository: type[NamedEntityRepository[Any]],
    of: int,
    edit: Callable[[Any], msgspec.Struct],
) -> Response[Any]:
    """An author or genre as `edit` makes it. Raises ApiError as `change`."""
    missing = repository.not_found_message(of)
    return await change(database, if_match, lambda session, check: repository(session).change(of, check, edit), missing)


async def remove_named(
    database: Database, if_match: str | None, repository: type[NamedEntityRepository[Any]], of: int, detach: bool
) -> None:
    """Removes an author or genre. Raises ApiError as `remove`, and `in_use`."""

    def work(session: Session, check: Check) -> bool:
        return repository(session).remove(of, check, detach=detach)

    await remove(database, if_match, work, repository.not_found_message(of))


async def remove(database: Database, if_match: str | None, work: Removal, missing: str) -> None:
    """Removes a resource. Raises ApiError: stale, not_found, and what `work` raises."""
    if not await database.run(lambda session: work(session, lambda tag: conditional.check_match(if_match, tag))):
        raise ApiError("not_found", missing)


def _digest(request: Request[Any, Any, Any], body: bytes) -> bytes:
    said = f"{request.scope['method']} {request.scope['path']}\n{request.headers.get('content-type', '')}\n"
    return hashlib.sha256(said.encode() + body).digest()
