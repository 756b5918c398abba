from __future__ import annotations

import re
from pathlib import Path

import pytest

from bookstore.cli.reference import ENVIRONMENT
from bookstore.config import settings
from bookstore.doctor import configuration
from bookstore.doctor.configuration import Value
from bookstore.doctor.tables import EXTENSIONS

MIGRATIONS = Path(__file__).parents[2] / "migrations/versions"


def test_every_setting_shows_up() -> None:
    """What the settings are read from is listed, and each variable's default is the one of its field."""
    names = configuration.variables()
    assert {"DATABASE_URL", "WEB_CONCURRENCY", "BOOKSTORE_CORS_ORIGINS", "BOOKSTORE_SLOW_STATEMENT"} <= set(names)
    assert set(names) <= ENVIRONMENT.keys()
    found = settings.read({})
    for name in names:
        field = configuration.field_name(name)
        assert hasattr(found, field) or hasattr(found.request_policy, field), name


def test_defaults_are_those_that_hold() -> None:
    """A default that depends on another variable is the one that holds here."""
    environ = {"BOOKSTORE_HOST": "::"}
    values = configuration.setting_values(settings.read(environ), environ, {})
    assert Value("BOOKSTORE_RATE_LIMIT", "50", "default") in values
    assert Value("BOOKSTORE_ALLOWED_HOSTS", "none", "default") in values


@pytest.mark.parametrize("name", ["BOOKSTORE_API_TOKENS", "DATABASE_PASSWORD", "BOOKSTORE_SIGNING_KEY"])
def test_what_sounds_secret_is_not_shown(name: str) -> None:
    """Also a variable that comes later is not shown where its name says that it is a secret."""
    assert configuration.display_value(name, "c4n@ry") == configuration.NOT_SHOWN
    assert configuration.display_value(f"{name}_FILE", "/run/secrets/it") == "/run/secrets/it"


def test_typing_errors_are_found() -> None:
    """A variable that nothing reads is told where it is nearly one of ours; what is another's is not."""
    environ = {"BOOKSTORE_PROFLE": "", "DATABASE_URI": "", "BOOKSTORE_SHELF": "", "PROFILE": "", "BOOKSTORE_HOST": ""}
    assert [(one.found, one.do) for one in configuration.misspelt_variables(environ)] == [
        ("BOOKSTORE_PROFLE: nothing reads it", "did you mean BOOKSTORE_PROFILE?"),
        ("DATABASE_URI: nothing reads it", "did you mean DATABASE_URL?"),
    ]


def test_the_extensions_are_those_of_the_migrations() -> None:
    """Doctor asks for what the migrations create."""
    text = "".join(path.read_text() for path in MIGRATIONS.glob("*.py"))
    assert sorted(re.findall(r"CREATE EXTENSION IF NOT EXISTS (\w+)", text)) == sorted(EXTENSIONS)
