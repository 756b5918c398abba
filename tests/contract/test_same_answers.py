"""The same requests get the same responses under every shipped profile."""

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
"""A list's ETag, which depends on the state of the database."""


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def original(own_database: Any) -> Iterator[sa.URL]:
    """A database with CATALOGUE and fixed timestamps, to be copied for each profile."""
    day = "SET created_at = '2026-01-01', updated_at = '2026-01-01'"
    with own_database(*CATALOGUE, f"UPDATE book {day}", f"UPDATE author {day}", f"UPDATE genre {day}") as url:
        yield url


@pytest.fixture
def copied(original: sa.URL) -> Iterator[sa.URL]:
    """An identical copy of the original database."""
    name = f"{original.database}_copy"
    with psycopg.connect(conninfo(original.set(database="postgres")), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{original.database}"')
        yield original.set(database=name)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def first() -> list[Answer]:
    """The responses under the first profile, to compare the others with; empty before the first test."""
    return []


@pytest.mark.parametrize("name", layers.names())
async def test_same_responses_under_every_profile(
    copied: sa.URL, name: str, first: list[Answer], request: pytest.FixtureRequest
) -> None:
    """Each status is as in requests.yaml; status, headers and body equal those of the first profile, byte for byte.

    Dates and tags of a database state need only be present. A profile that expects a pooler runs behind one.
    """
    profile = loader.load(f"{name}@gc=default,pool_size=2,max_overflow=0")
    if profile.behind_pooler:
        with request.getfixturevalue("pooled")(default_pool_size="2") as pooler:
            answers, failures = await send_all(profile, pooler.url(str(copied.database)))
    else:
        answers, failures = await send_all(profile, copied)
    assert not failures, "\n".join(failures)
    first[:] = first or answers
    different = [
        f"{request}\n  first: {expected}\n  {name}: {answer}"
        for request, expected, answer in zip(REQUESTS, first, answers, strict=True)
        if answer != expected
    ]
    assert not different, "\n".join(different[:10])


def test_requests() -> None:
    """There are at least 200 requests, each with an expected status."""
    assert len(REQUESTS) >= 200
    assert all("is" in request and sum(method in request for method in METHODS) == 1 for request in REQUESTS)


async def send_all(profile: EngineProfile, url: sa.URL) -> tuple[list[Answer], list[str]]:
    """Return the responses under this profile, and a message for each that differs from requests.yaml."""
    answers, failures = [], []
    kept: dict[str, str] = {}
    async with AsyncTestClient(make_app(make_database(profile, url), known=Keyring((ACCEPTED,)))) as client:
        for request in REQUESTS:
            response = await send(client, request, kept)
            failure = f"{request}: found {response.status_code} {response.text[:200]}"
            if response.status_code != request["is"]:
                failures.append(failure)
                continue
            reads_body = response.content and request.keys() & {"has", "keep"}  # exports are not all JSON
            body = msgspec.json.decode(response.content) if reads_body else {}
            expected = request.get("has", {})
            if {member: body.get(member) for member in expected} != expected:
                failures.append(failure)
            for variable, source in request.get("keep", {}).items():
                kept[variable] = str(response.headers[source] if source[0].isupper() else body[source])
            answers.append(Answer(response.status_code, stable(response.headers), response.content))
    return answers, failures


async def send(client: AsyncTestClient[Litestar], request: Mapping[str, Any], kept: Mapping[str, str]) -> Any:
    (method,) = (method for method in METHODS if method in request)
    headers = {"X-Request-ID": "1"} | ({"Authorization": f"Bearer {TOKEN}"} if request.get("token", True) else {})
    headers |= {name: fill(text, kept) for name, text in request.get("headers", {}).items()}
    path = fill(request[method], kept)
    content = None
    if "json" in request:
        content = msgspec.json.encode(request["json"])
        headers = {"Content-Type": "application/json"} | headers
    return await client.request(method.upper(), path, content=content, headers=headers)


def fill(text: str, kept: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: kept[match[1]], text)


def stable(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers without values that depend on the time or the database."""
    changing = {"last-modified": "a time", "retry-after": "seconds"}
    return {
        name: changing.get(name, STATE.sub('W/"a state"', text))
        for name, text in sorted(headers.items())
        if name != "date"
    }
