"""Who may ask, and how much: the settings of the gate."""

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
MOST_RATE: Final = 100_000

T = TypeVar("T")

_HOST: Final = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?)(:[0-9]{1,5})?")


class RequestPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`rate_limit` is in requests a second for each client, None for no limit. `hosts` are the names of this
    service without a port, none for any. `origins` are those whose pages may ask, exactly."""

    rate_limit: int | None = None
    proxies: tuple[Network, ...] = ()
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


def read(environ: Mapping[str, str], *, beyond_loopback: bool) -> RequestPolicy:
    """What `environ` says. A service that only this machine reaches is asked by its loopback names (else a
    page could, by a name of its own that it points here) and as fast as a load test can; one beyond is asked
    by any name, and each client DEFAULT_RATE times a second.

    Raises ConfigurationError naming the variable, what was found and what is allowed.
    """
    return RequestPolicy(
        rate_limit=_rate(environ, "BOOKSTORE_RATE_LIMIT", DEFAULT_RATE if beyond_loopback else None),
        proxies=_all(environ, "BOOKSTORE_TRUSTED_PROXIES", _proxy, "addresses or networks, such as 10.0.0.0/8"),
        hosts=_all(environ, "BOOKSTORE_ALLOWED_HOSTS", _host, "names without scheme and port, such as example.com")
        or (() if beyond_loopback else LOOPBACK_NAMES),
        origins=_all(environ, "BOOKSTORE_CORS_ORIGINS", _origin, "exact origins, such as https://example.com"),
    )


def _rate(environ: Mapping[str, str], name: str, default: int | None) -> int | None:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if text == "off":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MOST_RATE):
        raise ConfigurationError(
            f"{name}: found '{excerpt(text)}'; allowed is a whole number from 1 to {MOST_RATE}, or off"
        )
    return int(text)


def _all(environ: Mapping[str, str], name: str, parse: Callable[[str], T], allowed: str) -> tuple[T, ...]:
    """The parts of a list with commas."""
    parts = [part.strip() for part in environ.get(name, "").split(",")]
    found = []
    for part in filter(None, parts):
        try:
            found.append(parse(part))
        except ValueError:
            raise ConfigurationError(
                f"{name}: found '{excerpt(part)}'; allowed are {allowed}, with commas between them"
            ) from None
    return tuple(found)


def _proxy(text: str) -> Network:
    return ip_network(text)


def _host(text: str) -> str:
    name = text.lower()
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{ip_address(name)}]"
    if not _HOST.fullmatch(name):
        raise ValueError(text)
    return name


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError(text)
    return text
