"""External services as contenders: one that runs already, or a file with the command that starts it."""

from __future__ import annotations

import ipaddress
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bookstore.config import validation, yaml_document
from bookstore.config.text import excerpt
from bookstore.config.validation import SourceValues, Violations
from bookstore.exceptions import ConfigurationError
from bookstore.lab.workload import placeholders

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PATH: Final = re.compile(r"/[!-~]*")
_PLACEHOLDERS: Final = ("port", "database_url")
_MAPPINGS: Final = ("external", "requests", "environment")
_KEYS: Final = {
    "external": ("command", "directory", "ready"),
    "requests": None,
    "environment": None,
    "description": (),
}


class External(msgspec.Struct, frozen=True, kw_only=True):
    """A service other than Bookstore.

    `url` is the address of one that runs already; otherwise `command` starts it in `directory` with `environment`.
    {port} and {database_url} are filled in in both. `ready` is the path that answers 2xx once it can serve; if it is
    empty, the plan fills in the path of the workload's first GET. `requests` maps the names of the workload's requests
    to the service's own paths.
    """

    name: str
    description: str = ""
    url: str | None = None
    command: list[str] = []
    directory: Path = Path()
    ready: str = ""
    environment: dict[str, str] = {}
    requests: dict[str, str] = {}

    @property
    def uses_database(self) -> bool:
        """Whether the service receives the address of the lab's database."""
        return any("{database_url}" in text for text in (*self.command, *self.environment.values()))

    @property
    def keys(self) -> dict[str, str]:
        """The service's description in a record. Only the names of environment variables, because values may be
        secrets."""
        values = {"url": self.url or "", "command": shlex.join(self.command), "ready": self.ready}
        values["environment"] = " ".join(sorted(self.environment))
        values |= {f"request {name}": path for name, path in self.requests.items()}
        return {key: value for key, value in values.items() if value}


def parse_options(texts: Sequence[str], ready: str | None) -> list[External]:
    """Return the services of every --external, with the path of --external-ready. Raises ConfigurationError for the
    same name twice."""
    if ready is not None and (not _PATH.fullmatch(ready) or placeholders.unknown(ready, ())):
        raise ConfigurationError(f"--external-ready: found '{excerpt(ready)}'; allowed is a path, such as /health")
    services = [msgspec.structs.replace(parse_option(text), ready=ready or "") for text in texts]
    names = [service.name for service in services]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(f"--external {twice}: found twice; allowed is another name for one of them")
    return services


def parse_option(text: str) -> External:
    """`NAME=URL` -> a service that runs already. Raises ConfigurationError for other machines: the network would be
    part of the measurement, and a typo must not send load to someone else's service."""
    name, equals, url = text.partition("=")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    is_plain = parts.scheme == "http" and not parts.query and not parts.fragment and parts.username is None
    is_plain = is_plain and port != 0 and not re.search(r"[^!-z|~]", parts.path)  # a brace is the load generator's
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
    """Return whether `spec` is the file of an external service, that is, has the key `external`."""
    if not spec.endswith((".yaml", ".yml")) or not Path(spec).expanduser().is_file():
        return False
    return "external" in yaml_document.read(Path(spec).expanduser(), Violations(), _MAPPINGS)


def load(spec: str) -> External:
    """Read the external service in the file `spec`. Raises ConfigurationError with one line for each violation."""
    path = Path(spec).expanduser()
    entries = yaml_document.read(path, mappings=_MAPPINGS)
    violations = Violations()
    texts = {key: _read_mapping(key, entries, violations) for key in _MAPPINGS}
    for key in entries.keys() - _KEYS.keys():
        violations.add(entries[key].place, key, "an unknown key", validation.suggestion(key, list(_KEYS)))
    external = texts["external"]
    command = _parse_command(external, entries, path.parent / external.get("directory", "."), violations)
    paths: list[tuple[str, str, str, tuple[str, ...]]]
    paths = [("external", "ready", external["ready"], ())] if "ready" in external else []
    paths += [("requests", name, path, placeholders.OF_REQUESTS) for name, path in texts["requests"].items()]
    for parent, name, text, known in paths:
        place = _place(entries, parent, name)
        if not _PATH.fullmatch(text) or "{{" in text:
            violations.add(place, name, f"'{excerpt(text)}'", "a path, such as /books?limit=100")
        elif wrong := placeholders.unknown(text, known):
            violations.add(place, name, *wrong)
    filled = [("external", "command", external.get("command", ""))]
    filled += [("environment", name, text) for name, text in texts["environment"].items()]
    for parent, name, text in filled:
        if wrong := placeholders.unknown(text, _PLACEHOLDERS):
            found, allowed = wrong
            allowed += "; for braces in the text itself, double them"
            violations.add(_place(entries, parent, name), f"{parent}.{name}", found, allowed)
    if not _NAME.fullmatch(path.stem):
        violations.add(str(path), "name", f"'{excerpt(path.stem)}'", "letters, digits, -, _ and . before .yaml")
    violations.raise_any()
    return External(
        name=path.stem,
        description=str(entries["description"].text) if "description" in entries else "",
        command=command,
        directory=(path.parent / external.get("directory", ".")).resolve(),
        ready=external.get("ready", ""),
        environment=texts["environment"],
        requests=texts["requests"],
    )


def _read_mapping(key: str, entries: SourceValues, violations: Violations) -> dict[str, str]:
    """Return the flat mapping under `key` and report its unknown keys."""
    mapping = entries[key].value if key in entries else {}
    if not isinstance(mapping, dict):
        violations.add(entries[key].place, key, f"'{excerpt(entries[key].text)}'", "a mapping of keys to values")
        return {}
    if known := _KEYS[key]:
        for name in mapping.keys() - set(known):
            violations.add(
                mapping[name].place, f"{key}.{name}", "an unknown key", validation.suggestion(name, list(known))
            )
    return {name: entry.text for name, entry in mapping.items()}


def _place(entries: SourceValues, parent: str, name: str) -> str:
    """Return the place of a key in a mapping, or of the mapping if the key is missing."""
    mapping = entries[parent].value
    return mapping[name].place if isinstance(mapping, dict) and name in mapping else entries[parent].place


def _parse_command(
    external: dict[str, str], entries: SourceValues, directory: Path, violations: Violations
) -> list[str]:
    place = entries["external"].place
    try:
        words = shlex.split(external.get("command", ""))
    except ValueError as error:
        violations.add(place, "external.command", f"'{excerpt(external['command'])}': {error}", "words as in a shell")
        return []
    if not words or not any("{port}" in word for word in words):
        found = f"'{excerpt(external['command'])}'" if external.get("command") else "nothing"
        violations.add(
            place, "external.command", found, "a command with {port} in it, such as: uvicorn app:app --port {port}"
        )
    elif not shutil.which(words[0]) and not (directory / words[0]).is_file():
        violations.add(
            place, "external.command", f"{excerpt(words[0])}, which is not a program", "a program on the PATH"
        )
    if not directory.is_dir():
        violations.add(place, "external.directory", f"'{excerpt(str(directory))}'", "a folder that exists")
    return words


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def fill_placeholders(text: str, port: int, database_url: str) -> str:
    """Return `text` with {port} and {database_url} filled in, and doubled braces around a word as single ones."""
    filled = text.replace("{port}", str(port)).replace("{database_url}", database_url)
    return re.sub(r"\{\{([A-Za-z_][A-Za-z0-9_.-]*)\}\}", r"{\1}", filled)
