from __future__ import annotations

import asyncio
import contextvars

import pytest

from bookstore.http import request_id


@pytest.mark.parametrize("sent", [b"a", b"0af7651916cd43dd8448eb211c80319c", b"a.B_c-9", b"x" * 64])
def test_taken(sent: bytes) -> None:
    """A client's id of letters, digits, dots, underscores and dashes is taken as it is."""
    assert contextvars.copy_context().run(request_id.begin, sent, {}) == sent.decode()


@pytest.mark.parametrize(
    "sent", [None, b"", b"x" * 65, b"a b", b"a\n", b"\r\nX: y", b'a"', b"a\x1b[31m", "é".encode(), b"../..;"]
)
def test_made(sent: bytes | None) -> None:
    """Anything else is not repeated: the request gets a random id, of 32 hexadecimal digits."""
    one, other = (contextvars.copy_context().run(request_id.begin, sent, {}) for _ in range(2))
    assert one != other
    for made in (one, other):
        assert len(made) == 32
        int(made, 16)


async def _served(sent: bytes) -> list[str | None]:
    scope: dict[str, str] = {}
    request_id.begin(sent, scope)
    await asyncio.sleep(0)
    assert request_id.route() is None
    scope["path_template"] = f"/{sent.decode()}"
    return [request_id.current(), await asyncio.to_thread(request_id.current), request_id.route()]


@pytest.mark.anyio
async def test_current() -> None:
    """Requests at the same time have each its own id and route, in a thread with its context too; elsewhere is none."""
    assert list(await asyncio.gather(_served(b"a"), _served(b"b"))) == [["a", "a", "/a"], ["b", "b", "/b"]]
    assert request_id.current() is None
    assert request_id.route() is None
