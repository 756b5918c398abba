"""A schema that changes under a running service: 503 `db_unavailable` on every route, and recovery afterwards."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
import pytest
import sqlalchemy as sa

from bookstore.database import engine, migrations
from bookstore.database.url import conninfo
from bookstore.profile.engine_profile import Driver

from .conftest import CATALOGUE, TOKEN, Serve

pytestmark = pytest.mark.anyio

READS = [
    "/books", "/books?sort=-title", "/books?q=emma", "/books?author=1&genre=drama&total=true", "/books?language=en",
    "/books/1", "/books/isbn/9780439023481", "/authors", "/authors/1", "/authors/1/books", "/genres", "/genres/1",
    "/genres/1/books",
]  # fmt: skip
WRITES: list[tuple[str, str, Any]] = [
    ("POST", "/books", {"title": "New", "language": "en", "author_ids": [1], "genre_ids": [1]}),
    ("POST", "/books:batch", {"items": [{"title": "New"}]}),
    ("PUT", "/books/1", {"title": "Changed"}),
    ("PATCH", "/books/1", {"title": "Changed"}),
    ("DELETE", "/books/1", None),
    ("POST", "/authors", {"name": "New"}),
    ("PATCH", "/authors/1", {"name": "Changed"}),
    ("POST", "/genres", {"name": "New"}),
    ("DELETE", "/genres/2", None),
]
CHANGES: dict[str, LiteralString] = {
    "column renamed": "ALTER TABLE book RENAME COLUMN title TO name",
    "column of another type": "ALTER TABLE book DROP language CASCADE; ALTER TABLE book ADD language int",
    "new required column": "ALTER TABLE book ADD price numeric NOT NULL DEFAULT 0;"
    " ALTER TABLE book ALTER price DROP DEFAULT",
    "function removed": "ALTER FUNCTION search_terms RENAME TO other_terms",
    "unique index removed": "ALTER TABLE idempotency DROP CONSTRAINT pk_idempotency",
    "table removed": "DROP TABLE book_genre",
    "schema renamed": "ALTER SCHEMA public RENAME TO private",
}


async def statuses(client: Any) -> dict[str, int]:
    """Return the status of every request. A failure must be `db_unavailable` or the client's error."""
    found: dict[str, int] = {}
    for method, path, body in [*(("GET", path, None) for path in READS), *WRITES]:
        headers = {"Authorization": f"Bearer {TOKEN}", "If-Match": "*", "Idempotency-Key": f"key-{len(found)}"}
        answer = await client.request(method, path, json=body, headers=headers)
        found[f"{method} {path}"] = answer.status_code
        if answer.status_code >= 500:
            assert (answer.status_code, answer.json()["code"]) == (503, "db_unavailable"), (method, path, answer.text)
    return found


@pytest.mark.parametrize("revision", ["0001", "base"])
async def test_downgrade(
    own_database: Any, serve: Serve, driver: Driver, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A downgrade makes every route 503 that needs what is gone; after the upgrade reads work without a restart."""
    monkeypatch.setattr(engine, "RENEW_AFTER_S", 0.0)
    with own_database(*CATALOGUE) as url:
        synchronous = url.set(drivername="postgresql+psycopg")
        async with serve(url, driver) as client:
            assert (await client.get("/books/1")).status_code == 200
            migrations.downgrade(synchronous, revision)
            found = await statuses(client)
            assert found["GET /books/1"] == 503
            assert found["POST /books"] == 503
            migrations.upgrade(synchronous)
            for path in ("/books", "/authors", "/genres"):
                assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_other_change(own_database: Any, serve: Serve, driver: Driver, change: LiteralString) -> None:
    """Whatever else differs in the schema, no request is answered with 500, and some with 503."""
    with own_database(*CATALOGUE) as url:
        async with serve(url, driver) as client:
            for _ in range(8):  # psycopg prepares a statement after five executions in a connection
                assert (await client.get("/books")).status_code == 200
            change_schema(url, change)
            assert 503 in (await statuses(client)).values()


def change_schema(url: sa.URL, change: LiteralString) -> None:
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        connection.execute(change)
