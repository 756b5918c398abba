"""One service, many engines: the same 200 requests get the same answers under every shipped profile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
import yaml
from litestar import Litestar
from litestar.testing import AsyncTestClient

from bookstore.app import make_app
from bookstore.auth.keyring import Keyring
from bookstore.database.unit_of_work import make_database
from bookstore.database.url import conninfo
from bookstore.profile import layers, loader
from bookstore.profile.engine_profile import EngineProfile

from .conftest import ACCEPTED, CATALOGUE, TOKEN

pytestmark = pytest.mark.anyio

METHODS: Final = ("get", "head", "options", "post", "put", "patch", "delete")
REQUESTS: Final[list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("requests.yaml").read_text("utf-8"))
STATE: Final = re.compile(r'W/"[0-9a-f]{18}"')
"""A list's ETag names the state of its database."""


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def original(own_database: Any) -> Iterator[sa.URL]:
    """A database with CATALOGUE, all of it of one day: what is copied for each profile."""
    day = "SET created_at = '2026-01-01', updated_at = '2026-01-01'"
    with own_database(*CATALOGUE, f"UPDATE book {day}", f"UPDATE author {day}", f"UPDATE genre {day}") as url:
        yield url


@pytest.fixture
def copied(original: sa.URL) -> Iterator[sa.URL]:
    """A copy of it, of the same bytes."""
    name = f"{original.database}_copy"
    with psycopg.connect(conninfo(original.set(database="postgres")), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{original.database}"')
        yield original.set(database=name)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def first() -> list[Answer]:
    """The answers of the first profile, for the others to be held against; empty before."""
    return []


@pytest.mark.parametrize("name", layers.names())
async def test_every_profile_answers_alike(
    copied: sa.URL, name: str, first: list[Answer], request: pytest.FixtureRequest
) -> None:
    """Each status is what requests.yaml says; status, headers and body, byte for byte, are the first profile's.

    Dates, and what names a state of a database, only have to be there. What says that it is behind a pooler is.
    """
    chosen = loader.load(f"{name}@gc=default,pool_size=2,max_overflow=0")
    if chosen.behind_pooler:
        with request.getfixturevalue("pooled")(default_pool_size="2") as it:
            answers, wrong = await ask(chosen, it.url(str(copied.database)))
    else:
        answers, wrong = await ask(chosen, copied)
    assert not wrong, "\n".join(wrong)
    first[:] = first or answers
    different = [
        f"{request}\n  first: {one}\n  {name}: {other}"
        for request, one, other in zip(REQUESTS, first, answers, strict=True)
        if one != other
    ]
    assert not different, "\n".join(different[:10])


def test_the_requests() -> None:
    """There are 200, with what each expects."""
    assert len(REQUESTS) == 200
    assert all("is" in request and sum(method in request for method in METHODS) == 1 for request in REQUESTS)


async def ask(chosen: EngineProfile, url: sa.URL) -> tuple[list[Answer], list[str]]:
    """The answers under this profile, and a sentence for each that is not what requests.yaml expects."""
    answers, wrong = [], []
    kept: dict[str, str] = {}
    async with AsyncTestClient(make_app(make_database(chosen, url), known=Keyring((ACCEPTED,)))) as client:
        for request in REQUESTS:
            response = await send(client, request, kept)
            told = f"{request}: found {response.status_code} {response.text[:200]}"
            if response.status_code != request["is"]:
                wrong.append(told)
                continue
            body = msgspec.json.decode(response.content) if response.content else {}
            expected = request.get("has", {})
            if {member: body.get(member) for member in expected} != expected:
                wrong.append(told)
            for variable, source in request.get("keep", {}).items():
                kept[variable] = str(response.headers[source] if source[0].isupper() else body[source])
            answers.append(Answer(response.status_code, stable(response.headers), response.content))
    return answers, wrong


async def send(client: AsyncTestClient[Litestar], request: Mapping[str, Any], kept: Mapping[str, str]) -> Any:
    (method,) = (method for method in METHODS if method in request)
    headers = {"X-Request-ID": "1"} | ({"Authorization": f"Bearer {TOKEN}"} if request.get("token", True) else {})
    headers |= {name: filled(text, kept) for name, text in request.get("headers", {}).items()}
    path = filled(request[method], kept)
    content = None
    if "json" in request:
        content = msgspec.json.encode(request["json"])
        headers = {"Content-Type": "application/json"} | headers
    return await client.request(method.upper(), path, content=content, headers=headers)


def filled(text: str, kept: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: kept[match[1]], text)


def stable(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without what differs from one minute, or one database, to the next."""
    changing = {"last-modified": "a time", "retry-after": "seconds"}
    return {
        name: changing.get(name, STATE.sub('W/"a state"', text))
        for name, text in sorted(headers.items())
        if name != "date"
    }
