from __future__ import annotations

from ipaddress import ip_network

import pytest

from bookstore.http.client_address import client

NONE: tuple[()] = ()
PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:aaaa:bbbb:cccc:dddd", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_peer(peer: str, address: str) -> None:
    """Without trusted proxies, the client is the peer's IPv4 address or IPv6 /64, whatever X-Forwarded-For says."""
    assert client(peer, NONE, NONE) == address
    assert client(peer, (b"203.0.113.9",), NONE) == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [b"203.0.113.9"], "192.0.2.1"),  # not our proxy
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("fd00::1", [b"2001:db8:1:2::7"], "2001:db8:1:2::/64"),
        ("10.0.0.1", [b"8.8.8.8, 203.0.113.9"], "203.0.113.9"),  # the left address is forged
        ("10.0.0.1", [b"8.8.8.8, 203.0.113.9,10.0.0.2 , 10.0.0.3"], "203.0.113.9"),
        ("10.0.0.1", [b"8.8.8.8", b"203.0.113.9", b"10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", [b"203.0.113.9, junk, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("10.0.0.1", [b"\xff\xfe"], "10.0.0.1"),
        ("10.0.0.1", [b"1.1.1.1," * 100_000 + b"203.0.113.9"], "203.0.113.9"),
    ],
)
def test_behind_proxies(peer: str, forwarded: list[bytes], address: str) -> None:
    """Behind trusted proxies, the client is the rightmost address that is not a proxy's."""
    assert client(peer, forwarded, PROXIES) == address
