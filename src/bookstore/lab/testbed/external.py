"""Any other service as a contender: one that runs already, or a file that says how to start it."""

from __future__ import annotations

import ipaddress
import re
import shlex
import shutil
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bookstore.config import validation, yaml_document
from bookstore.config.text import excerpt
from bookstore.config.validation import SourceValues, Violations
from bookstore.exceptions import ConfigurationError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PATH: Final = re.compile(r"/[!-~]*")
_MAPPINGS: Final = ("external", "requests", "environment")
_KEYS: Final = {
    "external": ("command", "directory", "ready"),
    "requests": None,
    "environment": None,
    "description": (),
}


class External(msgspec.Struct, frozen=True, kw_only=True):
    """A service that is not ours. `url` is that of one that runs already; else `command` starts it in `directory`
    with `environment`, in both of which {port} and {database_url} are filled in. `ready` is the path that answers
    200 when it can serve. `requests` are its own paths for the workload's requests, by their names."""

    name: str
    description: str = ""
    url: str | None = None
    command: list[str] = []
    directory: Path = Path()
    ready: str = "/"
    environment: dict[str, str] = {}
    requests: dict[str, str] = {}

    @property
    def keys(self) -> dict[str, str]:
        """What a record says of it. Of the environment the names only: values may be secrets."""
        told = {"url": self.url or "", "command": shlex.join(self.command), "ready": self.ready}
        told["environment"] = " ".join(sorted(self.environment))
        told |= {f"request {name}": path for name, path in self.requests.items()}
        return {key: value for key, value in told.items() if value}


def parse_option(text: str) -> External:
    """`NAME=URL` -> a service that runs already. Raises ConfigurationError for what is not on this machine: a network
    in between would be measured with it, and nobody else's service is to be loaded by a slip."""
    name, equals, url = text.partition("=")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    is_plain = parts.scheme == "http" and not parts.query and not parts.fragment and parts.username is None
    if not equals or not _NAME.fullmatch(name) or not is_plain or not host:
        raise ConfigurationError(
            f"--external: found '{excerpt(text)}'; allowed is NAME=URL, such as django=http://127.0.0.1:8001"
        )
    if not _is_loopback(host):
        raise ConfigurationError(
            f"--external {name}: found the host {excerpt(host)}; allowed is this machine, such as 127.0.0.1"
        )
    return External(name=name, url=f"http://{parts.netloc if port else f'{parts.netloc}:80'}{parts.path.rstrip('/')}")


def is_external(spec: str) -> bool:
    """Whether `spec` is a file of an external service: one with the key `external`."""
    if not spec.endswith((".yaml", ".yml")) or not Path(spec).expanduser().is_file():
        return False
    return "external" in yaml_document.read(Path(spec).expanduser(), Violations(), _MAPPINGS)


def load(spec: str) -> External:
    """The external service in the file at `spec`. Raises ConfigurationError with every mistake, a line each."""
    path = Path(spec).expanduser()
    entries = yaml_document.read(path, mappings=_MAPPINGS)
    mistakes = Violations()
    texts = {key: _read_mapping(key, entries, mistakes) for key in _MAPPINGS}
    for key in entries.keys() - _KEYS.keys():
        mistakes.add(entries[key].place, key, "an unknown key", validation.suggestion(key, list(_KEYS)))
    own = texts["external"]
    command = _parse_command(own, entries, path.parent / own.get("directory", "."), mistakes)
    for key, text in {"ready": own.get("ready", "/"), **texts["requests"]}.items():
        if not _PATH.fullmatch(text):
            where = entries["external" if key == "ready" else "requests"].place
            mistakes.add(where, key, f"'{excerpt(text)}'", "a path, such as /books?limit=100")
    if not _NAME.fullmatch(path.stem):
        mistakes.add(str(path), "name", f"'{excerpt(path.stem)}'", "letters, digits, -, _ and . before .yaml")
    mistakes.raise_any()
    return External(
        name=path.stem,
        description=str(entries["description"].text) if "description" in entries else "",
        command=command,
        directory=(path.parent / own.get("directory", ".")).resolve(),
        ready=own.get("ready", "/"),
        environment=texts["environment"],
        requests=texts["requests"],
    )


def _read_mapping(key: str, entries: SourceValues, mistakes: Violations) -> dict[str, str]:
    """The flat mapping under `key`, its unknown keys told."""
    inner = entries[key].value if key in entries else {}
    if not isinstance(inner, dict):
        mistakes.add(entries[key].place, key, f"'{excerpt(entries[key].text)}'", "a mapping of keys to values")
        return {}
    if known := _KEYS[key]:
        for name in inner.keys() - set(known):
            mistakes.add(inner[name].place, f"{key}.{name}", "an unknown key", validation.suggestion(name, list(known)))
    return {name: entry.text for name, entry in inner.items()}


def _parse_command(own: dict[str, str], entries: SourceValues, directory: Path, mistakes: Violations) -> list[str]:
    where = entries["external"].place
    try:
        words = shlex.split(own.get("command", ""))
    except ValueError as error:
        mistakes.add(where, "external.command", f"'{excerpt(own['command'])}': {error}", "words as in a shell")
        return []
    if not words or not any("{port}" in word for word in words):
        found = f"'{excerpt(own['command'])}'" if own.get("command") else "nothing"
        mistakes.add(
            where, "external.command", found, "a command with {port} in it, such as: uvicorn app:app --port {port}"
        )
    elif not shutil.which(words[0]) and not (directory / words[0]).is_file():
        mistakes.add(
            where, "external.command", f"{excerpt(words[0])}, which is no program here", "a program on the PATH"
        )
    if not directory.is_dir():
        mistakes.add(where, "external.directory", f"'{excerpt(str(directory))}'", "a folder that exists")
    return words


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def fill_placeholders(text: str, port: int, database_url: str) -> str:
    """`text` with {port} and {database_url} filled in."""
    return text.replace("{port}", str(port)).replace("{database_url}", database_url)
