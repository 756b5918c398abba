"""The requirements of --deploy compose are checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bookstore.cli import main
from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed import compose_project

COMPOSE = """
services:
  db:
    image: ${POSTGRES_IMAGE:-docker.io/library/postgres:18}
  api:
    image: ${BOOKSTORE_IMAGE:-localhost/bookstore:latest}
"""
PODMAN = """case "$1 $2 $3" in
  "--version  ") echo podman version 4.3.1 ;;
  "image inspect docker.io/library/postgres:18" | "image inspect mine") ;;
  *) exit 1 ;;
esac"""
NEW = "echo 'podman-compose version 1.6.0'"

Installed = Callable[..., None]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Installs programs, given as lines of sh, in the only searched folder, and creates a compose.yaml."""

    def install(compose: str | None = COMPOSE, **programs: str) -> None:
        (folder := tmp_path / "bin").mkdir()
        for name, lines in programs.items():
            (file := folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{lines}\n")
            file.chmod(0o755)
        if compose is not None:
            (tmp_path / "compose.yaml").write_text(compose)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.chdir(tmp_path)
        for name in compose_project._OPERATOR_VARIABLES:
            monkeypatch.delenv(name, raising=False)

    return install


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        ({}, r"found neither podman nor docker; install the packages podman and podman-compose"),
        ({"podman": PODMAN}, r"podman-compose does not report its version: install the package podman-compose"),
        (
            {"podman": "echo podman version 3.4.4", "podman_compose": NEW},
            r"found podman 3\.4\.4; allowed is 4\.0 or newer",
        ),
        (
            {"podman": PODMAN, "podman_compose": "echo podman-composer version  1.0.2"},
            r"found podman-compose 1\.0\.2; allowed is 1\.0\.3 or newer: install",
        ),
        (
            {"podman": PODMAN, "podman_compose": NEW},
            r"the service api's image localhost/bookstore:latest does not exist; build it: podman build -t localhost",
        ),
        ({"docker": "echo no daemon >&2; exit 1"}, r"docker does not report its version: start its daemon"),
        (
            {"docker": 'case "$1 $2" in "version --format") echo 28.2.2 ;; *) exit 1 ;; esac'},
            r"docker compose does not report its version: install the package docker-compose-plugin",
        ),
    ],
)
def test_what_is_missing(programs: dict[str, str], message: str, installed: Installed) -> None:
    """No engine, one that is too old or not running, and a missing image are reported with the remedy."""
    installed(**programs)
    with pytest.raises(ConfigurationError, match=message):
        compose_project.check()


@pytest.mark.parametrize(
    ("compose", "message"),
    [
        (None, r"compose\.yaml: cannot be read: No such file or directory; run the command in the folder of compose"),
        ("services: {db: {}}", r"compose\.yaml: found no services db and api with an image"),
        ("{", r"compose\.yaml: found no services"),
    ],
)
def test_no_compose_file(compose: str | None, message: str, installed: Installed) -> None:
    """A missing or different file is named."""
    installed(compose)
    with pytest.raises(ConfigurationError, match=message):
        compose_project.check()


def test_images_are_chosen_as_compose_does(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment overrides .env, which overrides compose.yaml; podman-compose 1.0.3 is new enough."""
    installed(podman=PODMAN, podman_compose="echo podman-composer version  1.0.3")
    (tmp_path / ".env").write_text("# ours\nBOOKSTORE_IMAGE='mine'\nBOOKSTORE_PROFILE=other\n")
    assert compose_project.check().versions == "podman 4.3.1, podman-compose 1.0.3"
    monkeypatch.setenv("BOOKSTORE_IMAGE", "nobodys")
    with pytest.raises(ConfigurationError, match="image nobodys does not exist"):
        compose_project.check()


def test_refused_before_anything_starts(
    installed: Installed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command exits with code 2, reports every error and stores nothing."""
    installed()
    monkeypatch.setattr("sys.argv", ["bookstore", "compare", "--deploy", "compose", "asyncpg-json", "nonsense"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "--deploy compose: found neither podman nor docker" in message
    assert "'nonsense', which is not a profile" in message
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["bin", "compose.yaml"]
