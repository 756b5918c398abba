"""compose.yaml and .env.example say the same, and what they name exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from bookstore.cli.reference import ENVIRONMENT

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = (ROOT / "compose.yaml").read_text()
EXAMPLE: Final = (ROOT / ".env.example").read_text()


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
    return found


def test_every_variable_is_explained() -> None:
    """.env.example has each variable that compose.yaml reads, with the default that holds there, and no other."""
    read = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE))
    assert dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE)) == read
    assert len(re.findall(r"\$\{", COMPOSE)) == len(re.findall(r"\$\{[A-Z_]+:-", COMPOSE))


def test_what_is_passed_on_is_known() -> None:
    """What the containers of the service get in their environment is what the service reads."""
    for name in ("api", "migrate"):
        passed = {key for key in services()[name]["environment"] if not key.startswith("OTEL_")}  # one entry for all
        assert passed <= ENVIRONMENT.keys()


def test_nothing_is_reached_from_elsewhere() -> None:
    """Each port that is published is so on the loopback, unless a variable says otherwise; the database's is not."""
    ports = {name: service.get("ports", []) for name, service in services().items()}
    assert not ports["db"] + ports["pgbouncer"] + ports["migrate"]
    assert all(re.match(r"\$\{[A-Z_]+:-127\.0\.0\.1:", port) for published in ports.values() for port in published)


def test_no_container_may_gain_rights() -> None:
    """None of the services may gain rights, and those of ours have none and write nowhere."""
    for name, service in services().items():
        assert "no-new-privileges" in service["security_opt"], name
    for name in ("api", "migrate", "pgbouncer"):
        assert services()[name]["cap_drop"] == ["ALL"]
        assert services()[name]["read_only"] is True


def test_what_is_mounted_exists() -> None:
    """Each file and folder of this checkout that is mounted is there."""
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", volume).split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), (name, source)


def test_secrets_are_files() -> None:
    """Each secret is a file in SECRETS_DIR, and none is a value in the file itself."""
    for name, secret in yaml.safe_load(COMPOSE)["secrets"].items():
        assert secret == {"file": f"${{SECRETS_DIR:-./secrets}}/{name}"}
    environments = [service.get("environment", {}) for service in services().values()]
    named = [name for environ in environments for name in environ if "PASSWORD" in name or "TOKEN" in name]
    assert named
    assert all(name.endswith("_FILE") for name in named)


def test_the_image_sees_no_secrets() -> None:
    """The build's context is a list of what is allowed, and secrets and .env are no part of it, nor of commits."""
    lines = [line for line in (ROOT / ".containerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert not [line for line in lines if re.match(r"!(secrets|\.env|tests|\.git|runs)", line)]
    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".containerignore").read_text()
    assert {"secrets/", ".env"} <= set((ROOT / ".gitignore").read_text().splitlines())
