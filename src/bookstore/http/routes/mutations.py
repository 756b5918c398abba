"""Shared by the writing routes: bodies, preconditions, idempotency keys, and responses that follow the commit."""

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
        description="The `ETag` of the version to change, or `*` for any version. If the resource has changed since, "
        "the response is 412 and nothing is changed.",
        schema_extra={"pattern": conditional.PATTERN, "examples": ["*"]},
    ),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        pattern="^[!-~]{1,255}$",
        description="A string of your choice that makes it safe to retry: for 24 hours, the same request with the same "
        "key creates nothing more and returns the first response. Use a new key for each creation.",
    ),
]
Detach = Annotated[
    bool,
    QueryParameter(
        description="Also remove the resource from all books that refer to it. Otherwise such books cause a 409."
    ),
]


async def read_input(request: Request[Any, Any, Any], kind: type[D]) -> D:
    """Return the body as an input of this `kind`. Raises ApiError if it is invalid."""
    return request_body.convert(await _read_json(request, request_body.JSON), kind).validate()


async def read_batch(request: Request[Any, Any, Any]) -> list[BookInput]:
    """Return the body as the inputs of several books. Raises ApiError if it is invalid."""
    return request_body.convert(await _read_json(request, request_body.JSON), BookBatch).validate()


async def read_patch(request: Request[Any, Any, Any], kind: type[D]) -> Callable[[D], D]:
    """Return a function that applies the body, a merge patch (RFC 7396), to an input. Raises ApiError if it is invalid;
    so does the function."""
    patch = await _read_json(request, request_body.MERGE_PATCH, request_body.JSON)
    if not isinstance(patch, dict):
        detail = "A merge patch must be a JSON object."
        raise ApiError("invalid_body", detail, FieldError(detail, pointer=""))

    def apply(before: D) -> D:
        return request_body.convert(_merge(msgspec.to_builtins(before), patch), kind).validate()

    return apply


def _merge(document: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a merge patch to a flat document: members of the patch replace its members, null removes them."""
    whole = {**document, **patch}
    return {name: value for name, value in whole.items() if value is not None or name not in document}


async def _read_json(request: Request[Any, Any, Any], *accepted: str) -> object:
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
    """Return the answer of `make` after the commit, or the stored answer if `key` (Idempotency-Key) was used before."""
    digest = _digest(request, await request.body())

    def work(session: Session) -> schemas.StoredResponse:
        if key is None:
            return make(session)
        keys = IdempotencyRepository(session, request.auth.name, key)
        if stored := keys.claim(digest):
            return msgspec.structs.replace(stored, replayed=True)
        answer = make(session)
        keys.store(answer)
        return answer

    answer = await database.run(work)
    headers = {**answer.headers, "Idempotency-Replayed": "true"} if answer.replayed else answer.headers
    return Response(answer.body, status_code=answer.status, headers=headers)


def created_answer(path: str, entity_id: int, created: schemas.Representation | None) -> schemas.StoredResponse:
    """Return 201 with the new resource `entity_id` of the collection at `path`."""
    assert created is not None
    headers = responses.validator_headers(created) | {"Location": f"{path}/{entity_id}"}
    return schemas.StoredResponse(201, headers, msgspec.Raw(msgspec.json.encode(created.body)))


def batch_answer(body: msgspec.Struct) -> schemas.StoredResponse:
    """Return 201 with a `body` that describes several new resources."""
    return schemas.StoredResponse(201, {"Cache-Control": "no-store"}, msgspec.Raw(msgspec.json.encode(body)))


async def change(database: Database, if_match: str | None, work: Change, missing: str) -> Response[Any]:
    """Return the resource after `work` and the commit.

    Raises ApiError `if_match_required`, `stale`, or `not_found` with the detail `missing`.
    """
    required = conditional.require_if_match(if_match)
    changed = await database.run(lambda session: work(session, lambda tag: conditional.check_match(required, tag)))
    if changed is None:
        raise ApiError("not_found", missing)
    return Response(changed.body, headers=responses.validator_headers(changed))


async def create_named(
    request: Request[Any, Any, Any],
    database: Database,
    key: str | None,
    repository: type[NamedEntityRepository[Any]],
    entity: msgspec.Struct,
    path: str,
) -> Response[Any]:
    """Create an author or genre and return 201 with it."""

    def make(session: Session) -> schemas.StoredResponse:
        entities = repository(session)
        entity_id = entities.create(entity)
        return created_answer(path, entity_id, entities.find(entity_id))

    return await create(request, database, key, make)


async def change_named(
    database: Database,
    if_match: str | None,
    repository: type[NamedEntityRepository[Any]],
    key: int | str,
    edit: Callable[[Any], msgspec.Struct],
) -> Response[Any]:
    """Apply `edit` to an author or genre and return it. Raises ApiError as `change` does."""

    def work(session: Session, check: Check) -> schemas.Representation | None:
        entities = repository(session)
        return entities.change(entities.id_of(key), check, edit)

    return await change(database, if_match, work, repository.not_found_message(key))


async def remove_named(
    database: Database, if_match: str | None, repository: type[NamedEntityRepository[Any]], key: int | str, detach: bool
) -> None:
    """Remove an author or genre. Raises ApiError as `remove` does, and `in_use`."""

    def work(session: Session, check: Check) -> bool:
        entities = repository(session)
        return entities.remove(entities.id_of(key), check, detach=detach)

    await remove(database, if_match, work, repository.not_found_message(key))


async def remove(database: Database, if_match: str | None, work: Removal, missing: str) -> None:
    """Remove a resource. Raises ApiError `stale`, `not_found` with the detail `missing`, and those of `work`."""
    if not await database.run(lambda session: work(session, lambda tag: conditional.check_match(if_match, tag))):
        raise ApiError("not_found", missing)


def _digest(request: Request[Any, Any, Any], body: bytes) -> bytes:
    head = f"{request.scope['method']} {request.scope['path']}\n{request.headers.get('content-type', '')}\n"
    return hashlib.sha256(head.encode() + body).digest()
