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


def test_every_variable_is_listed() -> None:
    """Every variable that the settings are read from is listed, and has a field."""
    names = configuration.variables()
    assert {"DATABASE_URL", "WEB_CONCURRENCY", "BOOKSTORE_CORS_ORIGINS", "BOOKSTORE_SLOW_STATEMENT"} <= set(names)
    assert set(names) <= ENVIRONMENT.keys()
    defaults = settings.read({})
    for name in names:
        field = configuration.field_name(name)
        assert hasattr(defaults, field) or hasattr(defaults.request_policy, field), name


def test_effective_defaults() -> None:
    """A default that depends on another variable is shown with its effective value."""
    environ = {"BOOKSTORE_HOST": "::"}
    values = configuration.setting_values(settings.read(environ), environ, {})
    assert Value("BOOKSTORE_RATE_LIMIT", "50", "default") in values
    assert Value("BOOKSTORE_ALLOWED_HOSTS", "none", "default") in values


@pytest.mark.parametrize("name", ["BOOKSTORE_API_TOKENS", "DATABASE_PASSWORD", "BOOKSTORE_SIGNING_KEY"])
def test_secret_names_are_hidden(name: str) -> None:
    """A variable whose name suggests a secret is not shown, so that a future variable is safe too."""
    assert configuration.display_value(name, "c4n@ry") == configuration.NOT_SHOWN
    assert configuration.display_value(f"{name}_FILE", "/run/secrets/it") == "/run/secrets/it"


def test_misspelt_variables() -> None:
    """A variable that nothing reads is reported if its name is close to one of ours; other variables are not."""
    environ = {"BOOKSTORE_PROFLE": "", "DATABASE_URI": "", "BOOKSTORE_SHELF": "", "PROFILE": "", "BOOKSTORE_HOST": ""}
    assert [(finding.found, finding.do) for finding in configuration.misspelt_variables(environ)] == [
        ("unknown variable BOOKSTORE_PROFLE", "did you mean BOOKSTORE_PROFILE?"),
        ("unknown variable DATABASE_URI", "did you mean DATABASE_URL?"),
    ]


def test_extensions_match_the_migrations() -> None:
    """Doctor checks for the extensions that the migrations create."""
    text = "".join(path.read_text() for path in MIGRATIONS.glob("*.py"))
    assert sorted(re.findall(r"CREATE EXTENSION IF NOT EXISTS (\w+)", text)) == sorted(EXTENSIONS)
