from __future__ import annotations

import asyncio
import contextvars

import pytest

from bookstore.http import request_id


@pytest.mark.parametrize("sent", [b"a", b"0af7651916cd43dd8448eb211c80319c", b"a.B_c-9", b"x" * 64])
def test_accepted(sent: bytes) -> None:
    """A client's id of letters, digits, dots, underscores and dashes is used unchanged."""
    assert contextvars.copy_context().run(request_id.begin, sent, {}) == sent.decode()


@pytest.mark.parametrize(
    "sent", [None, b"", b"x" * 65, b"a b", b"a\n", b"\r\nX: y", b'a"', b"a\x1b[31m", "é".encode(), b"../..;"]
)
def test_generated(sent: bytes | None) -> None:
    """Anything else is discarded: the request gets a random id of 32 hexadecimal digits."""
    first, second = (contextvars.copy_context().run(request_id.begin, sent, {}) for _ in range(2))
    assert first != second
    for generated in (first, second):
        assert len(generated) == 32
        int(generated, 16)


async def _serve(sent: bytes) -> list[str | None]:
    scope: dict[str, str] = {}
    request_id.begin(sent, scope)
    await asyncio.sleep(0)
    assert request_id.route() is None
    scope["path_template"] = f"/{sent.decode()}"
    return [request_id.current(), await asyncio.to_thread(request_id.current), request_id.route()]


@pytest.mark.anyio
async def test_current() -> None:
    """Concurrent requests each have their own id and route, also in a thread with their context; elsewhere is none."""
    assert list(await asyncio.gather(_serve(b"a"), _serve(b"b"))) == [["a", "a", "/a"], ["b", "b", "/b"]]
    assert request_id.current() is None
    assert request_id.route() is None
