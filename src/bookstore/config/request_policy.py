"""The request policy: which clients, hosts and origins the service accepts, and at what rate."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, TypeVar

import msgspec

from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError

Network = IPv4Network | IPv6Network

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
DEFAULT_RATE: Final = 50
MAX_RATE: Final = 100_000

T = TypeVar("T")

_HOST: Final = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?)(:[0-9]{1,5})?")


class RequestPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the gate.

    `rate_limit` is in requests per second and client, None for no limit. `proxies` are trusted to name the client.
    `hosts` are this service's names without a port; empty accepts any. `origins` are matched exactly (CORS)."""

    rate_limit: int | None = None
    proxies: tuple[Network, ...] = ()
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


def read(environ: Mapping[str, str], *, beyond_loopback: bool) -> RequestPolicy:
    """Read the policy from `environ`.

    By default a service that only this machine reaches accepts only loopback names, because a web page could
    otherwise reach it through a host name that it points here, and has no rate limit, so that it can be load-tested.
    A service `beyond_loopback` accepts any name and DEFAULT_RATE requests per second and client.

    Raises ConfigurationError that names the variable, what was found and what is allowed.
    """
    return RequestPolicy(
        rate_limit=_read_rate(environ, "BOOKSTORE_RATE_LIMIT", DEFAULT_RATE if beyond_loopback else None),
        proxies=_read_list(
            environ, "BOOKSTORE_TRUSTED_PROXIES", _parse_proxy, "addresses or networks, such as 10.0.0.0/8"
        ),
        hosts=_read_list(
            environ, "BOOKSTORE_ALLOWED_HOSTS", _parse_host, "names without scheme and port, such as example.com"
        )
        or (() if beyond_loopback else LOOPBACK_NAMES),
        origins=_read_list(
            environ, "BOOKSTORE_CORS_ORIGINS", _parse_origin, "exact origins, such as https://example.com"
        ),
    )


def _read_rate(environ: Mapping[str, str], name: str, default: int | None) -> int | None:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if text == "off":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_RATE):
        raise ConfigurationError(
            f"{name}: found '{excerpt(text)}'; allowed is a whole number from 1 to {MAX_RATE}, or off"
        )
    return int(text)


def _read_list(environ: Mapping[str, str], name: str, parse: Callable[[str], T], allowed: str) -> tuple[T, ...]:
    """Parse the items of a comma-separated list."""
    parts = [part.strip() for part in environ.get(name, "").split(",")]
    items = []
    for part in filter(None, parts):
        try:
            items.append(parse(part))
        except ValueError:
            raise ConfigurationError(
                f"{name}: found '{excerpt(part)}'; allowed are {allowed}, separated by commas"
            ) from None
    return tuple(items)


def _parse_proxy(text: str) -> Network:
    return ip_network(text)


def _parse_host(text: str) -> str:
    name = text.lower()
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{ip_address(name)}]"
    if not _HOST.fullmatch(name):
        raise ValueError(text)
    return name


def _parse_origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError(text)
    return text
