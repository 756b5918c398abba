"""Bad requests: each is refused by its rule, as a problem; nothing is stored, and the service is as before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, get_args

import psycopg
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import AsyncTestClient

from bookstore.app import make_app
from bookstore.auth.keyring import Keyring
from bookstore.database.unit_of_work import Database, make_database
from bookstore.database.url import conninfo
from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http.problem_details import PROBLEM_JSON
from bookstore.profile.engine_profile import Driver, EngineProfile

from .bad_requests import ODD, SECTIONS, Bad
from .conftest import ACCEPTED, CATALOGUE, TOKEN

pytestmark = pytest.mark.anyio

CONNECTIONS: Final = 2
TABLES: Final = ("book", "author", "genre", "book_author", "book_genre", "idempotency")


class Served(NamedTuple):
    client: AsyncTestClient[Litestar]
    database: Database
    url: sa.URL

    def in_use(self) -> int:
        """How many connections of the pool are not back."""
        assert isinstance(self.database.pool, sa.QueuePool)
        return self.database.pool.checkedout()

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        with psycopg.connect(conninfo(self.url)) as connection:
            counted = (connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in TABLES)  # noqa: S608 - constants
            return {table: row[0] for table, row in zip(TABLES, counted, strict=True) if row}


@pytest.fixture(params=get_args(Driver))
async def served(
    request: pytest.FixtureRequest, own_database: Callable[..., AbstractContextManager[sa.URL]]
) -> AsyncIterator[Served]:
    """The service with CATALOGUE and two connections, on each driver."""
    profile = EngineProfile(name="test", driver=request.param, gc="default", pool_size=CONNECTIONS)
    with own_database(*CATALOGUE) as url:
        database = make_database(profile, url)
        async with AsyncTestClient(make_app(database, known=Keyring((ACCEPTED,)))) as client:
            yield Served(client, database, url)


@pytest.mark.parametrize("section", SECTIONS)
async def test_bad_requests_are_refused(served: Served, section: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each is answered with its status and code; then a good request succeeds, no connection is missing,
    nothing was stored, and nothing was logged as an error."""
    before = served.rows()
    wrong = []
    for bad in SECTIONS[section]:
        token = () if section == "tokens" else (("Authorization", f"Bearer {TOKEN}"),)
        headers = [(name.encode(), text.encode()) for name, text in (*bad.headers, *token)]
        answer = await served.client.request(bad.method, bad.path, content=bad.content, headers=headers)
        if trouble := _differs(bad, answer):
            wrong.append(f"{bad.what}: {trouble}")
        good = await served.client.get("/books/1")
        assert good.status_code == 200, bad.what
        assert good.json()["title"] == "Emma", bad.what
        assert served.in_use() == 0, bad.what
    assert not wrong, "\n".join(wrong)
    assert served.rows() == before
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def _differs(bad: Bad, answer: Any) -> str | None:
    """How the answer is not the problem that is expected."""
    told = f"{answer.status_code} {answer.text[:200]}"
    if answer.status_code != (expected := PROBLEM_TYPES[bad.code].status):
        return f"{expected} expected, found {told}"
    if answer.headers.get("content-type") != PROBLEM_JSON:
        return f"no problem: {told}"
    body = answer.json()
    if (body["code"], body["status"]) != (bad.code, answer.status_code) or not body["detail"]:
        return f"{bad.code} expected, found {told}"
    needed = {401: "www-authenticate", 405: "allow", 415: "accept"}.get(answer.status_code)
    if needed and needed not in answer.headers:
        return f"{needed} is missing: {told}"
    return None


async def test_odd_texts_are_kept_as_they_are(served: Served) -> None:
    """A title or name comes back as it was sent, whatever it would mean elsewhere, and searching for it is
    an ordinary question."""
    client = served.client
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    for path, member in (("/books", "title"), ("/authors", "name"), ("/genres", "name")):
        for text in ODD:
            made = await client.post(path, json={member: text})
            assert made.status_code == 201, (path, text, made.text)
            read = await client.get(made.headers["Location"])
            assert read.json()[member] == made.json()[member] == text
    for text in ODD:
        found = await client.get("/books", params={"q": text[:100], "limit": 200})
        assert found.status_code == 200, text
        titles = [one["title"] for one in found.json()["items"]]
        assert len(titles) < len(ODD), text  # % and _ are no wildcards
    longest = {"title": "📚" * 1000}
    assert (await client.post("/books", json=longest)).json()["title"] == longest["title"]
    assert served.rows()["book"] == 25 + len(ODD) + 1


async def test_twins_are_one(served: Served) -> None:
    """A name is the same however its accents and spaces were written: another genre cannot have it."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    composed, apart = "Po\u00e9sie lyrique", "  Poe\u0301sie\u00a0 lyrique "
    assert (await served.client.post("/genres", json={"name": composed}, headers=headers)).status_code == 201
    twin = await served.client.post("/genres", json={"name": apart, "slug": "another"}, headers=headers)
    assert (twin.status_code, twin.json()["code"]) == (409, "name_taken")


async def test_allowed_oddities(served: Served) -> None:
    """What looks odd and follows the rules is taken."""
    headers = {"Authorization": f"bearer   {TOKEN}"}
    for number in ("-0", "1e3", "1815.0", "-3000", "9999"):
        body = f'{{"title": "Odd", "publication_year": {number}}}'
        sent = headers | {"Content-Type": 'APPLICATION/JSON; charset="UTF-8"'}
        made = await served.client.post("/books", content=body, headers=sent)
        assert made.json()["publication_year"] == int(float(number))
    for path in (
        "/books/1/",
        "/books/1%2F",
        "/books?q=null",
        "/books?q=%25",
        "/books?limit=1.0",
        "/books/1?",
        "/books?sort=-id&total=1",
    ):
        assert (await served.client.get(path, headers={"Range": "bytes=0-1"})).status_code == 200, path
