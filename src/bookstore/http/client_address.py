"""The client's address: the peer, or the address that a trusted proxy forwards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from bookstore.config.request_policy import Network

_LONGEST: Final = 1024
"""Bytes of X-Forwarded-For that are read, counted from the right: each trusted proxy adds at most 41."""


def client(peer: str, forwarded: Sequence[bytes], trusted: Sequence[Network]) -> str:
    """Return the rightmost untrusted address in the chain of `forwarded` (the X-Forwarded-For values) and `peer`.

    Addresses further left could be forged. If an entry is not an address, the result is the trusted proxy that
    forwarded it. An IPv6 address is returned as its /64 network, which usually belongs to a single customer.
    """
    if not trusted or (address := _parse_address(peer)) is None:
        return _to_network(peer)
    entries = b",".join(forwarded)[-_LONGEST:].decode("latin-1").split(",") if forwarded else []
    while entries and any(address in network for network in trusted):
        before = _parse_address(entries.pop().strip())
        if before is None:
            break
        address = before
    return _to_network(str(address))


@lru_cache(maxsize=4096)
def _to_network(text: str) -> str:
    address = _parse_address(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address or text)


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address  # a dual-stack socket reports IPv4 as ::ffff:192.0.2.1
    return address
