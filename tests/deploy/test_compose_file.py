"""compose.yaml and .env.example agree, and everything that they name exists."""

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
    definitions: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
    return definitions


def test_every_variable_is_explained() -> None:
    """.env.example has exactly the variables that compose.yaml reads, with the same defaults."""
    read = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE))
    assert dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE)) == read
    assert len(re.findall(r"\$\{", COMPOSE)) == len(re.findall(r"\$\{[A-Z_]+:-", COMPOSE))


def test_container_variables_are_known() -> None:
    """The service reads every variable that its containers get."""
    for name in ("api", "migrate"):
        passed = {
            key for key in services()[name]["environment"] if not key.startswith("OTEL_")
        }  # one entry for all of them
        assert passed <= ENVIRONMENT.keys()


def test_published_ports() -> None:
    """Ports are published on the loopback unless a variable overrides that; the database's port is not published."""
    ports = {name: service.get("ports", []) for name, service in services().items()}
    assert not ports["db"] + ports["pgbouncer"] + ports["migrate"]
    assert all(re.match(r"\$\{[A-Z_]+:-127\.0\.0\.1:", port) for published in ports.values() for port in published)


def test_containers_are_restricted() -> None:
    """No container can gain privileges. Ours have no capabilities and a read-only file system."""
    for name, service in services().items():
        assert "no-new-privileges" in service["security_opt"], name
    for name in ("api", "migrate", "pgbouncer"):
        assert services()[name]["cap_drop"] == ["ALL"]
        assert services()[name]["read_only"] is True


def test_mounted_files_exist() -> None:
    """Every mounted file and folder of this checkout exists."""
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", volume).split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), (name, source)


def test_secrets_are_files() -> None:
    """Every secret is a file in SECRETS_DIR, and none is a value in compose.yaml."""
    for name, secret in yaml.safe_load(COMPOSE)["secrets"].items():
        assert secret == {"file": f"${{SECRETS_DIR:-./secrets}}/{name}"}
    environments = [service.get("environment", {}) for service in services().values()]
    named = [name for environ in environments for name in environ if "PASSWORD" in name or "TOKEN" in name]
    assert named
    assert all(name.endswith("_FILE") for name in named)


def test_build_context_has_no_secrets() -> None:
    """The build context is an allowlist without secrets and .env, which git ignores too."""
    lines = [line for line in (ROOT / ".containerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert not [line for line in lines if re.match(r"!(secrets|\.env|tests|\.git|runs)", line)]
    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".containerignore").read_text()
    assert {"secrets/", ".env"} <= set((ROOT / ".gitignore").read_text().splitlines())
