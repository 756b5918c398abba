"""What --deploy compose needs, refused before anything starts where it is not there."""

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
    """Puts programs, given as lines of sh, into the only folder that is searched; and the folder of a compose.yaml."""

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
    ("programs", "told"),
    [
        ({}, r"found neither podman nor docker; install the packages podman and podman-compose"),
        ({"podman": PODMAN}, r"podman-compose does not tell its version: install the package podman-compose"),
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
            r"the service api's image localhost/bookstore:latest is not there; build it: podman build -t localhost",
        ),
        ({"docker": "echo no daemon >&2; exit 1"}, r"docker does not tell its version: start its daemon"),
        (
            {"docker": 'case "$1 $2" in "version --format") echo 28.2.2 ;; *) exit 1 ;; esac'},
            r"docker compose does not tell its version: install the package docker-compose-plugin",
        ),
    ],
)
def test_what_is_missing(programs: dict[str, str], told: str, installed: Installed) -> None:
    """No engine, one that is too old or does not answer, and an image that is not there: told with what to do."""
    installed(**programs)
    with pytest.raises(ConfigurationError, match=told):
        compose_project.check()


@pytest.mark.parametrize(
    ("compose", "told"),
    [
        (None, r"compose\.yaml: cannot be read: No such file or directory; run it in a folder with"),
        ("services: {db: {}}", r"compose\.yaml: found no services db and api with an image each"),
        ("{", r"compose\.yaml: found no services"),
    ],
)
def test_no_compose_file(compose: str | None, told: str, installed: Installed) -> None:
    """A file that is not there, or is another one, is named."""
    installed(compose)
    with pytest.raises(ConfigurationError, match=told):
        compose_project.check()


def test_images_are_chosen_as_compose_does(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the environment, else by .env, else by compose.yaml; 1.0.3 of podman-compose is enough."""
    installed(podman=PODMAN, podman_compose="echo podman-composer version  1.0.3")
    (tmp_path / ".env").write_text("# ours\nBOOKSTORE_IMAGE='mine'\nBOOKSTORE_PROFILE=other\n")
    assert compose_project.check().told == "podman 4.3.1, podman-compose 1.0.3"
    monkeypatch.setenv("BOOKSTORE_IMAGE", "nobodys")
    with pytest.raises(ConfigurationError, match="image nobodys is not there"):
        compose_project.check()


def test_refused_before_anything_starts(
    installed: Installed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with 2, has told each mistake, and stored nothing."""
    installed()
    monkeypatch.setattr("sys.argv", ["bookstore", "compare", "--deploy", "compose", "asyncpg-json", "nonsense"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "--deploy compose: found neither podman nor docker" in told
    assert "'nonsense', which is no profile" in told
    assert sorted(it.name for it in Path.cwd().iterdir()) == ["bin", "compose.yaml"]
