"""DATABASE_URL in all its forms: conversion for each driver, and errors that do not reveal the password."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path
from typing import get_args
from urllib.parse import quote

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from bookstore.config.settings import Settings
from bookstore.database import url as database_url
from bookstore.database.unit_of_work import make_database
from bookstore.exceptions import ConfigurationError
from bookstore.profile import loader
from bookstore.profile.engine_profile import Driver

CANARY = "c4n@ry:/%"
ENCODED = quote(CANARY, safe="")

REJECTED = {
    "other database": (f"sqlite:///{ENCODED}", "sqlite"),
    "other server": (f"mysql://me:{ENCODED}@host/books", "mysql"),
    "typo": (f"postgressql://me:{ENCODED}@host/books", "postgressql"),
    "capitals": (f"PostgreSQL://me:{ENCODED}@host/books", "PostgreSQL"),
    "no scheme": (f"me:{ENCODED}@host/books", "not a URL"),
    "words": (f"host=localhost password={CANARY}", "not a URL"),
    "no database": (f"postgresql://me:{ENCODED}@host", "no database"),
    "no database, slash": (f"postgresql://me:{ENCODED}@host/", "no database"),
    "port 0": (f"postgresql://me:{ENCODED}@host:0/books", "port"),
    "port too large": (f"postgresql://me:{ENCODED}@host:65536/books", "port"),
    "port in words": (f"postgresql://me:{ENCODED}@host:http/books", "not a URL"),
    "several hosts": (f"postgresql://me:{ENCODED}@one,two/books", "several"),
    "several hosts and ports": (f"postgresql://me:{ENCODED}@one:1,two:2/books", "not a URL"),
    "several hosts behind": (f"postgresql://me:{ENCODED}@/books?host=one,two", "several values of 'host'"),
    "a host twice": (f"postgresql://me:{ENCODED}@/books?host=one&host=two", "several values of 'host'"),
    "unknown parameter": (f"postgresql://me:{ENCODED}@host/books?pool_size=5", "'pool_size'"),
    "password as parameter": (f"postgresql://me@host/books?password={ENCODED}", "'password'"),
    "timeout as parameter": (f"postgresql://me:{ENCODED}@host/books?connect_timeout=9", "'connect_timeout'"),
    "wrong sslmode": (f"postgresql://me:{ENCODED}@host/books?sslmode=yes", "sslmode=yes"),
    "port 0 behind": (f"postgresql://me:{ENCODED}@/books?host=h&port=0", "port"),
    "port in words behind": (f"postgresql://me:{ENCODED}@/books?host=h&port=http", "port"),
    "two hosts": (f"postgresql://me:{ENCODED}@%2Frun/books?host=/tmp", "found a host both before and after the ?"),
    "several encoded hosts": (f"postgresql://me:{ENCODED}@one%2Ctwo/books", "several"),
    "several encoded folders": (f"postgresql://me:{ENCODED}@%2Fone%2C%2Ftwo/books", "several values of 'host'"),
    "system roots, unverified": (
        f"postgresql://me:{ENCODED}@h/books?sslmode=require&sslrootcert=system",
        "verify-full",
    ),
    "system roots, any name": (
        f"postgresql://me:{ENCODED}@h/books?sslrootcert=system&sslmode=verify-ca",
        "verify-full",
    ),
    "quoted": (f'"postgresql://me:{ENCODED}@host/books"', "not a URL"),
    "password not encoded": (f"postgresql://me:{CANARY}@host/books", "not a URL"),
    "@ not encoded": ("postgresql://me:c4n@ry@host/books", "%40"),
    "@ and / not encoded": ("postgresql://me:c4n@c4n/ry@host/books", "%40"),
}


@pytest.mark.parametrize(("text", "expected"), REJECTED.values(), ids=REJECTED)
def test_rejected_urls(text: str, expected: str) -> None:
    """The message names the variable and the problem, and contains no part of the password."""
    with pytest.raises(ConfigurationError) as caught:
        database_url.parse(text)
    message = str(caught.value)
    assert message.startswith("DATABASE_URL: ")
    assert expected in message
    assert "c4n" not in message
    assert ENCODED not in message


def test_error_hides_the_password() -> None:
    """Neither the message nor a chained exception contains the password, because a traceback would print both."""
    for text, _ in REJECTED.values():
        with pytest.raises(ConfigurationError) as caught:
            database_url.parse(text)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30))
def test_encoded_passwords(password: str) -> None:
    """A percent-encoded password reaches all drivers unchanged, whatever it contains."""
    url = database_url.parse(f"postgresql://me:{quote(password, safe='')}@host:5433/books")
    assert url.password == password
    assert conninfo_to_dict(database_url.conninfo(url))["password"] == password
    for driver in ("asyncpg", "psycopg"):
        assert database_url.for_driver(url, driver)[0].password == password
    assert database_url.location(url) == "books at host:5433"


@pytest.mark.parametrize("password", [CANARY, "a#b?c&d=e", " ", "%41", "ä\N{SNOWMAN}", "'\"\\", "+"])
def test_password_logs_in(server_url: sa.URL, password: str) -> None:
    """A password with special URL characters reaches the server unchanged through the text of the URL."""
    with psycopg.connect(database_url.conninfo(server_url), autocommit=True) as connection:
        url = database_url.parse(server_url.set(username="me", password=password).render_as_string(hide_password=False))
        literal = psycopg.sql.Literal(url.password)
        row = connection.execute(psycopg.sql.SQL("SELECT {}").format(literal)).fetchone()
    assert row == (password,)
    assert conninfo_to_dict(database_url.conninfo(url))["password"] == password


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"])
def test_scheme_names_no_driver(scheme: str) -> None:
    """Every usual scheme is accepted; the profile, not the URL, chooses the driver."""
    url = database_url.parse(f"{scheme}://me@host/books")
    assert url.drivername == "postgresql"
    assert database_url.for_driver(url, "asyncpg")[0].drivername == "postgresql+asyncpg"
    assert database_url.for_driver(url, "psycopg")[0].drivername == "postgresql+psycopg"
    assert database_url.for_driver(url, "psycopg-sync")[0].drivername == "postgresql+psycopg"


def asyncpg_arguments(url: sa.URL) -> dict[str, object]:
    """Return the arguments that SQLAlchemy passes to asyncpg.connect() for `url`."""
    engine_url, arguments = database_url.for_driver(url, "asyncpg")
    _, passed = sa.create_engine(engine_url).dialect.create_connect_args(engine_url)
    return {**passed, **arguments}


def test_ipv6() -> None:
    """An IPv6 address is in brackets in the URL and reaches both drivers without them."""
    url = database_url.parse("postgresql://me@[::1]:5433/books")
    libpq = conninfo_to_dict(database_url.conninfo(url))
    assert (libpq["host"], libpq["port"]) == ("::1", "5433")
    passed = asyncpg_arguments(url)
    assert (passed["host"], passed["port"]) == ("::1", 5433)


def test_socket_folder() -> None:
    """A socket's folder and port in the query reach both drivers."""
    url = database_url.parse("postgresql://me@/books?host=/var/run/my%20postgres&port=5433")
    libpq = conninfo_to_dict(database_url.conninfo(url))
    assert (libpq["host"], libpq["port"]) == ("/var/run/my postgres", "5433")
    passed = asyncpg_arguments(url)
    assert (passed["host"], passed["port"]) == ("/var/run/my postgres", 5433)
    assert database_url.location(url) == "books at /var/run/my postgres:5433"


@pytest.mark.anyio
@pytest.mark.parametrize("driver", get_args(Driver))
@pytest.mark.parametrize("port", ["", ":5432"])
async def test_socket_folder_as_host(server_url: sa.URL, driver: Driver, port: str) -> None:
    """A percent-encoded folder in the place of the host connects on every driver, as libpq allows it."""
    if "host" not in server_url.query:
        pytest.skip("the server has no Unix socket that is known here")
    folder = quote(str(server_url.query["host"]), safe="")
    database = make_database(
        loader.load(f"default@driver={driver}"), database_url.parse(f"postgresql://postgres@{folder}{port}/postgres")
    )
    try:
        assert await database.run(lambda session: session.scalar(sa.text("SELECT 1"))) == 1
    finally:
        await database.stop()


def test_encoded_hosts() -> None:
    """A host is percent-decoded for every driver; a socket's folder keeps port, user and password."""
    assert asyncpg_arguments(database_url.parse("postgresql://me@my%2Dhost/books"))["host"] == "my-host"
    url = database_url.parse(f"postgresql://me:{ENCODED}@%2Frun%2Fmy%20postgres:5433/books?sslmode=disable")
    assert (url.username, url.password, url.database, url.host, url.port) == ("me", CANARY, "books", None, None)
    assert url.query == {"host": "/run/my postgres", "port": "5433", "sslmode": "disable"}
    assert conninfo_to_dict(database_url.conninfo(url))["host"] == "/run/my postgres"
    assert database_url.parse(database_url.conninfo(url)) == url


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
def test_sslmode_reaches_both_drivers(mode: str) -> None:
    """asyncpg has no `sslmode` and gets the same value as `ssl`; libpq gets it unchanged."""
    url = database_url.parse(f"postgresql://me@host/books?sslmode={mode}")
    assert conninfo_to_dict(database_url.conninfo(url))["sslmode"] == mode
    passed = asyncpg_arguments(url)
    assert passed["ssl"] == mode
    assert "sslmode" not in passed


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_certificates_are_verified_by_both_drivers(tmp_path: Path, mode: str) -> None:
    """With a root certificate asyncpg verifies the server with it, and the host's name if libpq would."""
    root = tmp_path / "root.pem"
    root.write_text(ROOT)
    url = database_url.parse(f"postgresql://me@host/books?sslmode={mode}&sslrootcert={quote(str(root))}")
    libpq = conninfo_to_dict(database_url.conninfo(url))
    assert (libpq["sslmode"], libpq["sslrootcert"]) == (mode, str(root))
    passed = asyncpg_arguments(url)
    context = passed["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname == (mode == "verify-full")
    assert len(context.get_ca_certs()) == 1
    assert not {"sslmode", "sslrootcert"} & passed.keys()


@pytest.mark.parametrize("root", ["missing.pem", "empty.pem"])
def test_unreadable_root_certificate(tmp_path: Path, root: str) -> None:
    """A root certificate that cannot be read is rejected by its path, without a traceback."""
    (tmp_path / "empty.pem").touch()
    text = f"postgresql://me:{ENCODED}@host/books?sslmode=verify-full&sslrootcert={quote(str(tmp_path / root))}"
    with pytest.raises(ConfigurationError, match=root) as caught:
        database_url.for_driver(database_url.parse(text), "asyncpg")
    assert "c4n" not in str(caught.value)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "psycopg-sync"])
def test_no_representation_contains_the_password(driver: Driver) -> None:
    """No text of the engine or its pool that a log or traceback could print contains the password."""
    url = database_url.parse(f"postgresql://me:{ENCODED}@host/books")
    database = make_database(loader.load(f"default@driver={driver}"), url)
    for item in (database, database.pool, url, database_url.location(url), vars(database)):
        for text in (str(item), repr(item)):
            assert "c4n" not in text
            assert ENCODED not in text


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["db", "current"], f"postgresql://me:{ENCODED}@127.0.0.1:1/books"),
        (["serve"], f"postgresql://me:{ENCODED}@127.0.0.1:1/books"),
        (["serve", "--over-budget"], f"postgresql://me:{ENCODED}@127.0.0.1:1/books"),
        (["db", "url"], f"postgresql://me:{CANARY}@127.0.0.1:1/books"),
    ],
)
def test_no_command_prints_the_password(command: list[str], text: str) -> None:
    """An unreachable database or a wrong URL is reported in one line, without a traceback or a secret."""
    done = subprocess.run(
        [sys.executable, "-m", "bookstore", *command],
        env={"DATABASE_URL": text, "BOOKSTORE_PORT": "59999"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert output.strip()
    assert "Traceback" not in output
    assert "c4n" not in output
    assert ENCODED not in output
    assert done.returncode == 2


# Self-signed, for tests only; its key was deleted.
ROOT = """\
-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUVxBxYJeFQwMMETmytZXQvuyrDikwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJdGVzdCByb290MCAXDTI2MTEyMjIyMjU1MloYDzIxMjYxMDI5
MjIyNTUyWjAUMRIwEAYDVQQDDAl0ZXN0IHJvb3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATw3W3evzRC8vNnN0Wcb+S2fzC3HrEpPLpeCudmMcPNFKHa8zK+ox4u
3Q5uA5Raho68qbaHUq18I5h8zPG13f+mo1MwUTAdBgNVHQ4EFgQUaTFdEas57Z6y
Fmujb6JrbsuvwiYwHwYDVR0jBBgwFoAUaTFdEas57Z6yFmujb6JrbsuvwiYwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA/wHpfptm1AM55wLoeSr8
tUP7pGr3Awm0VoWfH2n1LdMCIQDrjevTVTPRyvamr59c+ufkHaxxhdQklta6AwTY
WCkMjA==
-----END CERTIFICATE-----
"""


def test_password_file(tmp_path: Path) -> None:
    """DATABASE_PASSWORD_FILE supplies the password, without its line end; error messages do not contain it."""
    file = tmp_path / "password"
    file.write_text(CANARY + "\n")
    settings = Settings(data_dir=tmp_path, database_url="postgresql://me@host/books", database_password_file=file)
    assert database_url.resolve(settings).password == CANARY
    conflicting = msgspec.structs.replace(settings, database_url=f"postgresql://me:{ENCODED}@host/books")
    with pytest.raises(
        ConfigurationError, match=r"^DATABASE_PASSWORD_FILE: found a password in DATABASE_URL too"
    ) as caught:
        database_url.resolve(conflicting)
    assert "c4n" not in str(caught.value)
    for content in (b"", b"\n", b"one\ntwo\n", b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"^DATABASE_PASSWORD_FILE: "):
            database_url.resolve(settings)
    file.unlink()
    with pytest.raises(ConfigurationError, match=r"cannot be read: No such file"):
        database_url.resolve(settings)
