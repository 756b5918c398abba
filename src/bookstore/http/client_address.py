"""Whose request it is: the peer's address, or what a trusted proxy says of the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from bookstore.config.request_policy import Network

_LONGEST: Final = 1024
"""Bytes of X-Forwarded-For that are looked at, from its right end: each trusted proxy adds at most 41."""


def client(peer: str, forwarded: Sequence[bytes], trusted: Sequence[Network]) -> str:
    """The rightmost address that is not trusted, of those in `forwarded` (the values of X-Forwarded-For in
    their order) and of `peer` at the right end, as a network: IPv6 by its /64, which one customer has whole.

    What stands left of it could be anybody's invention. So could what is no address: then it is the trusted
    proxy that passed it on.
    """
    if not trusted or (address := _address(peer)) is None:
        return _network(peer)
    entries = b",".join(forwarded)[-_LONGEST:].decode("latin-1").split(",") if forwarded else []
    while entries and any(address in network for network in trusted):
        before = _address(entries.pop().strip())
        if before is None:
            break
        address = before
    return _network(str(address))


@lru_cache(maxsize=4096)
def _network(text: str) -> str:
    address = _address(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address or text)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address  # ::ffff:192.0.2.1, as a socket of both families says it
    return address
