from __future__ import annotations

from ipaddress import ip_network

import pytest

from bookstore.http.client_address import client

NOBODY: tuple[()] = ()
PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "who"),
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
def test_the_peer(peer: str, who: str) -> None:
    """Without trusted proxies a client is who connects, by its IPv4 address or its IPv6 /64, whatever
    X-Forwarded-For says."""
    assert client(peer, NOBODY, NOBODY) == who
    assert client(peer, (b"203.0.113.9",), NOBODY) == who


@pytest.mark.parametrize(
    ("peer", "forwarded", "who"),
    [
        ("192.0.2.1", [b"203.0.113.9"], "192.0.2.1"),  # not our proxy
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("fd00::1", [b"2001:db8:1:2::7"], "2001:db8:1:2::/64"),
        ("10.0.0.1", [b"8.8.8.8, 203.0.113.9"], "203.0.113.9"),  # the left one was invented
        ("10.0.0.1", [b"8.8.8.8, 203.0.113.9,10.0.0.2 , 10.0.0.3"], "203.0.113.9"),
        ("10.0.0.1", [b"8.8.8.8", b"203.0.113.9", b"10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", [b"203.0.113.9, junk, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("10.0.0.1", [b"\xff\xfe"], "10.0.0.1"),
        ("10.0.0.1", [b"1.1.1.1," * 100_000 + b"203.0.113.9"], "203.0.113.9"),
    ],
)
def test_behind_proxies(peer: str, forwarded: list[bytes], who: str) -> None:
    """Behind trusted proxies it is the rightmost address that is none of theirs."""
    assert client(peer, forwarded, PROXIES) == who
