"""A service with a known amount of work, used to test the lab: it responds after a fixed number of hash rounds.

    python server.py PORT ROUNDS

One process, one thread, HTTP/1.1 with kept-alive connections. It uses no code of the bookstore.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from typing import Final

_BODY: Final = b'{"items": []}'
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)
_BLOCK: Final = bytes(1024)


class Worker(asyncio.Protocol):
    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:  # the lab's requests have no body
            _, _, self.received = self.received.partition(b"\r\n\r\n")
            for _ in range(self.rounds):
                hashlib.sha256(_BLOCK).digest()
            self.transport.write(_ANSWER)


async def serve(port: int, rounds: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Worker(rounds), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
