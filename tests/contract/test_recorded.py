"""The same requests under every shipped profile get the same answers, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import sqlalchemy as sa
from litestar.testing import AsyncTestClient

from bookstore import profile
from bookstore.app import make_app
from bookstore.database import make_database
from bookstore.keyring import Keyring

from .conftest import ACCEPTED, CATALOGUE, TOKEN

pytestmark = pytest.mark.anyio

_LONG_AGO: Final = tuple(
    f"UPDATE {table} SET created_at = '2024-12-31 12:00:00.5Z', updated_at = '2024-12-31 12:00:00Z'"  # noqa: S608 - made of constants
    for table in ("book", "author", "genre")
)
_PASSING: Final = {"date", "retry-after"}


class Recorded(NamedTuple):
    """A line of recorded.txt."""

    number: int
    status: int
    method: str
    path: str
    body: str | None
    headers: dict[str, str]
    name: str | None


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def read(lines: Sequence[str]) -> Iterator[Recorded]:
    """The requests, with ${…} still in them."""
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        text, _, name = line.partition(" = ") if re.search(r" = \w+$", line) else (line, "", "")
        request, *headers = text.split(" | ")
        status, method, path, *body = request.split(" ", 3)
        pairs = (header.partition(":") for header in headers)
        sent = {key: value.strip() for key, _, value in pairs}
        yield Recorded(number, int(status), method, path, body[0] if body else None, sent, name or None)


async def play(client: AsyncTestClient[Any], recorded: Sequence[Recorded]) -> list[Answer]:
    """The answers to the requests, sent one after the other."""
    known: dict[str, str] = {}

    def filled(text: str) -> str:
        return re.sub(r"\$\{([^}]+)\}", lambda found: known[found[1]], text)

    answers = []
    for it in recorded:
        writes = {"Authorization": f"Bearer {TOKEN}"} if it.method not in {"GET", "HEAD", "OPTIONS"} else {}
        typed = {"Content-Type": "application/json"} if it.body is not None else {}
        headers = writes | typed | {key: filled(value) for key, value in it.headers.items()}
        path = filled(it.path)
        response = await client.request(it.method, path, content=it.body and it.body.encode(), headers=headers)
        assert response.status_code == it.status, f"recorded.txt:{it.number}: {response.text}"
        if it.name:
            page = response.json() if response.content else {}
            known |= {it.name: response.headers.get("location", path), f"{it.name}.etag": response.headers["etag"]}
            known[f"{it.name}.next"] = page.get("next_cursor") or ""
        answers.append(Answer(response.status_code, _lasting(response.headers), response.content))
    return answers


def _lasting(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without what another database or another second makes different."""
    kept = {name: value for name, value in headers.items() if name not in _PASSING}
    if kept.get("etag", "").startswith("W/"):  # names a state of its database
        kept["etag"] = "W/"
    if "last-modified" in kept and not kept["last-modified"].endswith("2024 12:00:00 GMT"):
        kept["last-modified"] = "during the test"
    return kept


RECORDED: Final = list(read((Path(__file__).parent / "recorded.txt").read_text().splitlines()))


@pytest.fixture(scope="module")
def answers_of() -> dict[str, list[Answer]]:
    """By profile, as far as they were played."""
    return {}


@pytest.mark.parametrize("name", profile.names())
async def test_same_answers(
    name: str,
    own_database: Callable[..., AbstractContextManager[sa.URL]],
    answers_of: dict[str, list[Answer]],
) -> None:
    """Each request has its status, and each profile gives the answers of the first one."""
    chosen = msgspec.structs.replace(profile.load(name), pool_size=2, max_overflow=0, threads=None, gc="default")
    with own_database(*CATALOGUE, *_LONG_AGO) as url:
        async with AsyncTestClient(make_app(make_database(chosen, url), known=Keyring((ACCEPTED,)))) as client:
            played = await play(client, RECORDED)
    first, expected = next(iter(answers_of.items()), (name, played))
    answers_of[name] = played
    for it, answer, other in zip(RECORDED, played, expected, strict=True):
        assert answer == other, f"recorded.txt:{it.number} {it.method} {it.path}: {name} is not as {first}"


def test_there_are_enough() -> None:
    """200 requests at least, of reading, writing and errors."""
    assert len(RECORDED) >= 200
    kinds = {"read": 0, "write": 0, "error": 0}
    for it in RECORDED:
        kinds["error" if it.status >= 400 else "read" if it.method in {"GET", "HEAD", "OPTIONS"} else "write"] += 1
    assert min(kinds.values()) >= 20, kinds
