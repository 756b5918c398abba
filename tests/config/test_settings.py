from __future__ import annotations

from pathlib import Path

import pytest

from bookstore.config import settings
from bookstore.config.settings import Settings
from bookstore.exceptions import ConfigurationError


def test_empty_environment() -> None:
    """An empty environment gives the default profile on the loopback and the embedded database."""
    assert settings.read({}) == Settings(data_dir=settings.default_data_dir())
    assert settings.read({}).host == "127.0.0.1"
    assert settings.read({}).database_url is None


NAMES = (
    "BOOKSTORE_PROFILE", "DATABASE_URL", "BOOKSTORE_HOST", "BOOKSTORE_PORT", "WEB_CONCURRENCY", "BOOKSTORE_DATA_DIR",
    "BOOKSTORE_API_TOKENS", "BOOKSTORE_API_TOKENS_FILE", "BOOKSTORE_READ_ONLY", "DATABASE_PASSWORD_FILE",
    "BOOKSTORE_LOG_FORMAT", "BOOKSTORE_LOG_LEVEL", "BOOKSTORE_LOG_REQUESTS", "BOOKSTORE_SLOW_STATEMENT",
    "BOOKSTORE_PROFILES_DIR",
)  # fmt: skip


@pytest.mark.parametrize("text", ["", " ", "\n", " \t\r\n"])
@pytest.mark.parametrize("name", NAMES)
def test_empty_is_unset(name: str, text: str) -> None:
    """An empty or blank variable counts as unset."""
    assert settings.read({name: text}) == settings.read({})


def test_everything_is_read() -> None:
    """Each variable arrives in its place, without the line end that a file of secrets leaves."""
    result = settings.read(
        {
            "BOOKSTORE_PROFILE": "asyncpg-json@workers=2\n",
            "DATABASE_URL": "postgresql://me:p%20w@db/books\n",
            "BOOKSTORE_HOST": "::1 ",
            "BOOKSTORE_PORT": "8080\n",
            "WEB_CONCURRENCY": "4\r\n",
            "BOOKSTORE_DATA_DIR": "/srv/books\n",
            "BOOKSTORE_API_TOKENS": "# a\n# b\n",
            "BOOKSTORE_API_TOKENS_FILE": "/run/secrets/tokens\n",
            "BOOKSTORE_READ_ONLY": "on\n",
            "DATABASE_PASSWORD_FILE": "/run/secrets/password\n",
            "BOOKSTORE_PROFILES_DIR": "/etc/bookstore/profiles\n",
            "BOOKSTORE_LOG_FORMAT": "JSON\n",
            "BOOKSTORE_LOG_LEVEL": "debug",
            "BOOKSTORE_LOG_REQUESTS": "yes",
            "BOOKSTORE_SLOW_STATEMENT": "250ms\n",
        }
    )
    assert result == Settings(
        profile="asyncpg-json@workers=2",
        database_url="postgresql://me:p%20w@db/books",
        host="::1",
        port=8080,
        workers=4,
        data_dir=Path("/srv/books"),
        api_tokens="# a\n# b",
        api_tokens_file=Path("/run/secrets/tokens"),
        read_only=True,
        database_password_file=Path("/run/secrets/password"),
        profiles_dir=Path("/etc/bookstore/profiles"),
        log_format="json",
        log_level="debug",
        log_requests=True,
        slow_statement_s=0.25,
    )


def test_words_and_durations() -> None:
    """An invalid word or duration is rejected with what is allowed; slow statements can be off."""
    assert settings.read({"BOOKSTORE_SLOW_STATEMENT": "Off"}).slow_statement_s is None
    assert settings.read({"BOOKSTORE_SLOW_STATEMENT": "0s"}).slow_statement_s == 0
    for name, text, allowed in (
        ("BOOKSTORE_LOG_FORMAT", "xml", "allowed are auto, text, json"),
        ("BOOKSTORE_LOG_LEVEL", "loud", "allowed are debug, info, warning, error"),
        ("BOOKSTORE_SLOW_STATEMENT", "250", "allowed is a duration such as 250ms or 2s, or off"),
    ):
        with pytest.raises(ConfigurationError, match=f"^{name}: found '{text}'; {allowed}$"):
            settings.read({name: text})


def test_switches() -> None:
    """A switch accepts a few words in any case and rejects any other word."""
    for text, is_on in {
        "1": True,
        "TRUE": True,
        "yes": True,
        "on": True,
        "0": False,
        "No": False,
        "off": False,
    }.items():
        assert settings.read({"BOOKSTORE_READ_ONLY": text}).read_only is is_on
    for text in ("2", "y", "enabled", "true false", "'on'"):
        with pytest.raises(
            ConfigurationError, match=r"^BOOKSTORE_READ_ONLY: found '.*'; allowed are 1, true, yes, on, 0, "
        ):
            settings.read({"BOOKSTORE_READ_ONLY": text})


@pytest.mark.parametrize(("name", "most"), [("BOOKSTORE_PORT", 65535), ("WEB_CONCURRENCY", 256)])
def test_numbers_have_bounds(name: str, most: int) -> None:
    """Both ends of a range are allowed; numbers outside it and other texts are rejected with the variable's name."""
    settings.read({name: "1"})
    settings.read({name: str(most)})
    for text in ("0", "-1", "+1", str(most + 1), "1.5", "1e3", "auto", "'80'", "0x10", "\u0661", "\u00b2", "9" * 5000):
        with pytest.raises(
            ConfigurationError, match=rf"^{name}: found '.*'; allowed is a whole number from 1 to {most}$"
        ):
            settings.read({name: text})


def test_data_dir_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder starts at the current one, ~ at home; the home of an unknown user is rejected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert settings.read({"BOOKSTORE_DATA_DIR": "data"}).data_dir == tmp_path / "data"
    assert settings.read({"BOOKSTORE_DATA_DIR": "~/data"}).data_dir == Path("/home/me/data")
    with pytest.raises(ConfigurationError, match=r"^BOOKSTORE_DATA_DIR: found '~nobody-here/x'; allowed is "):
        settings.read({"BOOKSTORE_DATA_DIR": "~nobody-here/x"})


INTERFERING = [
    "GRANIAN_WORKERS", "GRANIAN_LOOP", "LITESTAR_DEBUG", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS",
    "PGSERVICE", "PGSERVICEFILE", "PGSSLMODE", "PGAPPNAME", "PGCONNECT_TIMEOUT", "PGTZ", "PGDATESTYLE",
]  # fmt: skip
KEPT = ["PGPASSWORD", "PGPASSFILE", "PATH", "GRANIAN", "LITESTAR_APP", "DATABASE_URL", "BOOKSTORE_PROFILE"]


def test_removes_interfering_variables() -> None:
    """Variables that would silently change a profile are removed and returned; others stay."""
    environ = dict.fromkeys([*INTERFERING, *KEPT], "x")
    assert settings.remove_interfering_variables(environ) == sorted(INTERFERING)
    assert environ.keys() == set(KEPT)
    assert settings.remove_interfering_variables(environ) == []


def test_listing_removes_nothing() -> None:
    """Listing the interfering variables does not remove them."""
    environ = {"GRANIAN_PORT": "1", "HOME": "/"}
    assert settings.interfering_variables(environ) == ["GRANIAN_PORT"]
    assert environ == {"GRANIAN_PORT": "1", "HOME": "/"}
