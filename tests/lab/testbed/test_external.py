"""External services: reading their files and refusing invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed import external
from bookstore.lab.testbed.external import External

_FILE = """
description: our own
external:
  command: python3 -m http.server {port}
  ready: /healthz
requests:
  list: /api/books?limit=100
environment:
  DATABASE_URL: "{database_url}"
  SECRET_KEY: hunter2
"""


def write_file(folder: Path, text: str, name: str = "django.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_tells_how_to_start_it(tmp_path: Path) -> None:
    """Command, ready path, requests and environment are read; the folder is the file's own."""
    spec = write_file(tmp_path, _FILE)
    assert external.is_external(spec)
    assert external.load(spec).uses_database
    service = external.load(spec)
    assert service == External(
        name="django",
        description="our own",
        command=["python3", "-m", "http.server", "{port}"],
        directory=tmp_path,
        ready="/healthz",
        environment={"DATABASE_URL": "{database_url}", "SECRET_KEY": "hunter2"},
        requests={"list": "/api/books?limit=100"},
    )


def test_a_record_names_the_environment_and_not_its_values(tmp_path: Path) -> None:
    """A secret in the file does not reach a record."""
    keys = external.load(write_file(tmp_path, _FILE)).keys
    assert keys["environment"] == "DATABASE_URL SECRET_KEY"
    assert "hunter2" not in str(keys)


def test_a_profile_is_no_external_service(tmp_path: Path) -> None:
    """Profiles, names and missing files are left to the profile reader."""
    assert not external.is_external("asyncpg-json")
    assert not external.is_external(str(tmp_path / "missing.yaml"))
    assert not external.is_external(write_file(tmp_path, "driver: asyncpg\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("external: yes\n", "external: found 'yes'; allowed is a mapping"),
        ("external:\n  comand: x {port}\n", r"external\.comand: found an unknown key; allowed is .*command"),
        ("external:\n  command: python3 app.py\n", r"with \{port\} in it"),
        ("external:\n  command: nosuchprogram --port {port}\n", "nosuchprogram, which is not a program"),
        ("external:\n  command: python3 'app {port}\n", "No closing quotation"),
        ("external:\n  command: python3 {port}\n  directory: nowhere\n", "a folder that exists"),
        ("external:\n  command: python3 {port}\n  ready: healthz\n", "ready: found 'healthz'; allowed is a path"),
        ("external:\n  command: python3 {port}\nrequests:\n  list: books\n", "list: found 'books'; allowed is a path"),
        ("external:\n  command: python3 {port}\nworkers: 2\n", "workers: found an unknown key"),
        (
            'external:\n  command: python3 {port}\nenvironment:\n  URL: "{databse_url}"\n',
            r"yaml:4:3: environment\.URL: found the unknown placeholder \{databse_url\}; allowed is \{database_url\}",
        ),
        ("external:\n  command: python3 {port} {PORT}\n", r"placeholder \{PORT\}; allowed is \{port\} \(did you"),
        (
            "external:\n  command: python3 {port} {x}\n",
            r"\{x\}; allowed is \{database_url\}, \{port\}; for braces",
        ),
        (
            "external:\n  command: python3 {port}\n  ready: /{id}\n",
            r"the unknown placeholder \{id\}; allowed is a text",
        ),
        ("external:\n  command: python3 {port}\nrequests:\n  list: /b/{ids}\n", r"list: .*\{ids\}; allowed is \{id\}"),
        ("external:\n  command: python3 {port}\nrequests:\n  list: '/b/{{x}}'\n", "list: found .*allowed is a path"),
    ],
)
def test_violations_are_named(tmp_path: Path, text: str, message: str) -> None:
    """Each violation says where it is, what was found and what is allowed."""
    with pytest.raises(ConfigurationError, match=message) as error:
        external.load(write_file(tmp_path, text))
    assert f"{tmp_path}/django.yaml:" in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["django", "=http://127.0.0.1:1", "a b=http://127.0.0.1:1", "x=https://127.0.0.1", "x=http://u:p@127.0.0.1:1",
     "x=http://127.0.0.1:99999", "x=http://127.0.0.1:0", "x=http://127.0.0.1:1/{id}", "x=http://127.0.0.1:1/a b",
     "x=http://127.0.0.1:1/?q=1", "x=", "x=file:///etc/passwd"],
)  # fmt: skip
def test_no_name_and_url_is_refused(text: str) -> None:
    """Anything but NAME=URL with plain HTTP is refused."""
    with pytest.raises(ConfigurationError, match="allowed is NAME=URL"):
        external.parse_option(text)


@pytest.mark.parametrize(
    "host", ["example.com", "10.0.0.1", "169.254.169.254", "127.0.0.1.example.com", "[2001:db8::1]"]
)
def test_another_machine_is_refused(host: str) -> None:
    """Load is sent to this machine only."""
    with pytest.raises(ConfigurationError, match="allowed is this machine"):
        external.parse_option(f"x=http://{host}:8000")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8"])
def test_this_machine_is_taken(host: str) -> None:
    """Every name of the loopback address is accepted."""
    assert external.parse_option(f"x=http://{host}:8000/api/").url == f"http://{host}:8000/api"


def test_braces_that_are_no_placeholder(tmp_path: Path) -> None:
    """JSON, a shell's variables and doubled braces are texts; doubled braces around a word become single ones."""
    text = """external:
  command: sh -c 'exec python3 app.py --port {port} --home ${HOME}'
environment:
  FORMAT: "{{time}} {{message}}"
  OPTIONS: '{"pool": {"size": 5}}'
"""
    service = external.load(write_file(tmp_path, text))
    assert not service.uses_database
    assert service.command[-1] == "exec python3 app.py --port {port} --home ${HOME}"
    filled = {name: external.fill_placeholders(value, 1, "u") for name, value in service.environment.items()}
    assert filled == {"FORMAT": "{time} {message}", "OPTIONS": '{"pool": {"size": 5}}'}


def test_services_of_the_command_line() -> None:
    """Each service gets the ready path; the same name twice and a ready path that is none are refused."""
    texts = ["a=http://127.0.0.1:1", "b=http://127.0.0.1:1/api"]
    assert [service.ready for service in external.parse_options(texts, "/health")] == ["/health", "/health"]
    assert [service.ready for service in external.parse_options(texts, None)] == ["", ""]
    with pytest.raises(ConfigurationError, match="--external a: found twice; allowed is another name"):
        external.parse_options([*texts, "a=http://127.0.0.1:2"], None)
    for path in ("health", "", "/a b", "/books/{id}"):
        with pytest.raises(ConfigurationError, match=r"--external-ready: found .*allowed is a path, such as /health"):
            external.parse_options(texts, path)
