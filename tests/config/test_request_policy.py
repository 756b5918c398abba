from __future__ import annotations

from ipaddress import ip_network

import pytest

from bookstore.config import request_policy, settings
from bookstore.config.request_policy import LOOPBACK_NAMES, RequestPolicy
from bookstore.exceptions import ConfigurationError


def read(**environ: str) -> RequestPolicy:
    return request_policy.read(environ, beyond_loopback=True)


def test_defaults() -> None:
    """On the loopback the policy allows only loopback names, without a rate limit; beyond it any name, 50 requests per
    second."""
    assert request_policy.read({}, beyond_loopback=False) == RequestPolicy(hosts=LOOPBACK_NAMES)
    assert request_policy.read({}, beyond_loopback=True) == RequestPolicy(rate_limit=50)


@pytest.mark.parametrize(
    ("host", "rate_limit"),
    [("127.0.0.1", None), ("127.8.8.8", None), ("::1", None), ("localhost", None), ("0.0.0.0", 50), ("::", 50)],  # noqa: S104 - nothing listens
)
def test_host_decides_defaults(host: str, rate_limit: int | None) -> None:
    """BOOKSTORE_HOST decides which defaults apply."""
    assert settings.read({"BOOKSTORE_HOST": host}).request_policy.rate_limit == rate_limit


def test_values() -> None:
    """Lists are separated by commas; blanks around items and the case of names do not matter."""
    policy = read(
        BOOKSTORE_RATE_LIMIT=" 7\n",
        BOOKSTORE_TRUSTED_PROXIES="10.0.0.0/8, ::1 ,",
        BOOKSTORE_ALLOWED_HOSTS="Example.com,::1,[::2]",
        BOOKSTORE_CORS_ORIGINS="https://example.com,http://[::1]:3000",
    )
    assert policy == RequestPolicy(
        rate_limit=7,
        proxies=(ip_network("10.0.0.0/8"), ip_network("::1")),
        hosts=("example.com", "[::1]", "[::2]"),
        origins=("https://example.com", "http://[::1]:3000"),
    )
    assert read(BOOKSTORE_RATE_LIMIT="off").rate_limit is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("BOOKSTORE_RATE_LIMIT", text) for text in ("0", "-1", "1.5", "100001", "no", "OFF", "\u0661", "9" * 5000)),
        *(("BOOKSTORE_TRUSTED_PROXIES", text) for text in ("*", "10.0.0.1/8", "proxy", "10.0.0.0/33", "10.0.0.1 ::1")),
        *(("BOOKSTORE_ALLOWED_HOSTS", text) for text in ("*", "*.example.com", "example.com:80", "https://a.b", "a b")),
        *(("BOOKSTORE_ALLOWED_HOSTS", text) for text in ("-a", "a/b", "1::2::3", "\u00fcber.de")),
        *(
            ("BOOKSTORE_CORS_ORIGINS", text)
            for text in ("*", "null", "https://a.b/", "a.b", "ftp://a.b", "https://A.b")
        ),
        *(
            ("BOOKSTORE_CORS_ORIGINS", text)
            for text in ("https://*.a.b", "https://a.b:port", "https://u@a.b", "https://")
        ),
    ],
)
def test_invalid_values(name: str, text: str) -> None:
    """Values without a meaning here, including wildcards, are rejected with the variable, what was found and what is
    allowed."""
    with pytest.raises(ConfigurationError, match=rf"^{name}: found '.*'; allowed (is|are) "):
        read(**{name: text})
