"""Reads workload files: YAML to Workload, as strictly as profiles, with `name@key=value` overrides on top.

`path: /books?limit=100`, optionally with `headers`, is short for `requests` with one GET.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import msgspec

from bookstore.config import scalars, validation, yaml_document
from bookstore.config.resources import shipped
from bookstore.config.text import excerpt
from bookstore.config.validation import SourceValue, SourceValues, Violations
from bookstore.exceptions import ConfigurationError
from bookstore.lab.workload import placeholders, thresholds
from bookstore.lab.workload.spec import MAX_CLIENTS, RequestSpec, Stage, Workload
from bookstore.profile import layers

SHORTHAND_KEYS: Final = ("path", "headers")
"""Keys that stand for `requests` in a workload of one GET."""

_LISTS: Final = ("requests", "stages", "thresholds")
_DURATIONS: Final = ("duration", "warm_up")
_PATH: Final = re.compile(r"/[!-~]*")
_ALLOWED_PATH: Final = "a path of the service, such as /books?limit=100"
_TITLE: Final = re.compile(r"[!-~]([ -~]{0,78}[!-~])?")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE: Final = re.compile(r"[!-~]([ -~]{0,998}[!-~])?")
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_CLIENT_HEADERS: Final = frozenset(
    {"connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"}
)
BODILESS: Final = frozenset({"GET", "HEAD", "DELETE"})
TEMPLATE: Final = "{{"
"""k9 expands expressions in double braces."""
MAX_ITEMS: Final = 50
MIN_DURATION_S: Final = 0.5
MAX_DURATION_S: Final = 3600


def names() -> list[str]:
    """Return the names of the shipped workloads, sorted."""
    return sorted(path.stem for path in shipped("workloads").glob("*.yaml"))


def load(spec: str) -> Workload:
    """Return the workload named by `spec`: a shipped name or a path, optionally followed by `@key=value,key=value`.

    Raises ConfigurationError with one line for each violation: `file:line:column: key: found …; allowed is …`.
    """
    return read(spec)[0]


def read(spec: str) -> tuple[Workload, dict[str, str]]:
    """Return the workload as `load` does, and where each key was set (key to place)."""
    violations = Violations()
    base, _ = layers.split(spec)
    is_path = layers.is_path(base)
    if not is_path and base not in names():
        raise ConfigurationError(
            f"workload '{excerpt(base)}': no such workload; allowed is {validation.suggestion(base, names())}, "
            "or the path of a .yaml file"
        )
    path = Path(base).expanduser() if is_path else shipped("workloads") / f"{base}.yaml"
    entries = _override(yaml_document.read(path, violations, ("headers",), _LISTS), layers.overrides(spec, violations))
    origins = {key: entry.place for key, entry in entries.items()}
    if not {"path", "requests"} & entries.keys() and not violations.incomplete:
        violations.add(str(path), "path", "nothing", f"{_ALLOWED_PATH}; or a list of requests")
    values = _values(path.stem[:80], entries, violations)
    workload = Workload(name=layers.label(spec), **{"requests": [RequestSpec(name="", path="/")], **values})
    _check_consistency(entries, workload, violations)
    violations.raise_any()
    return workload, origins


def with_values(workload: Workload, values: dict[str, float]) -> Workload:
    """Return the workload with command-line values in place of the file's; the same limits apply.

    Raises ConfigurationError if a value violates a limit or contradicts another key.
    """
    violations = Violations()
    texts = {
        key: scalars.duration_text(value) if key in _DURATIONS else str(int(value) if value == int(value) else value)
        for key, value in values.items()
    }
    entries = {key: SourceValue(scalars.scalar(text), text, "command line") for key, text in texts.items()}
    validated = validation.validate(Workload, entries, violations, {})
    changed = msgspec.structs.replace(workload, **validated)
    _check_consistency(entries, changed, violations)
    violations.raise_any()
    return changed


def _override(file: SourceValues, overrides: SourceValues) -> SourceValues:
    """Merge `overrides` over the file's values, and drop the file's keys that have no meaning under the new model."""
    dropped: set[str] = set()
    if "model" in overrides:
        dropped |= {"stages", "rate" if overrides["model"].text == "closed" else "concurrency"}
    if "duration" in overrides:
        dropped.add("stages")
    return {key: entry for key, entry in file.items() if key not in dropped | overrides.keys()} | overrides


def _values(name: str, entries: SourceValues, violations: Violations) -> dict[str, Any]:
    rest = dict(entries)
    if "requests" in rest:
        for key in SHORTHAND_KEYS:
            if entry := rest.pop(key, None):
                violations.add(entry.place, key, f"{key} beside requests", "either requests, or path for one GET")
        requests = [_request(item, violations) for item in _pop_list(rest, "requests")]
    else:
        short = {key: rest.pop(key) for key in SHORTHAND_KEYS if key in rest}
        requests = [_request(SourceValue(short, "", ""), violations, name)] if short else []
    stages = [_stage(item, violations) for item in _pop_list(rest, "stages")]
    texts = [_threshold(item, violations) for item in _pop_list(rest, "thresholds")]
    values = validation.validate(Workload, rest, violations, {}, beside=SHORTHAND_KEYS)
    gathered: dict[str, list[Any]] = {"requests": requests, "stages": stages, "thresholds": texts}
    for key, items in gathered.items():
        if all(items) and items:
            values[key] = items
    _check_lengths(entries, violations)
    return values | ({"duration": sum(stage.duration for stage in stages if stage)} if stages else {})


def _pop_list(entries: SourceValues, key: str) -> list[SourceValue]:
    """Remove the list `key` from `entries` and return its items; empty if there is no such list."""
    items = entries[key].value if key in entries else None
    if not isinstance(items, list):
        return []
    del entries[key]
    return items


def _check_lengths(entries: SourceValues, violations: Violations) -> None:
    for key in _LISTS:
        items = entries[key].value if key in entries else None
        if isinstance(items, list) and not (key == "requests") <= len(items) <= MAX_ITEMS:
            least = "1 to" if key == "requests" else "up to"
            violations.add(entries[key].place, key, f"a list of {len(items)}", f"a list of {least} {MAX_ITEMS}")


def _request(item: SourceValue, violations: Violations, default: str | None = None) -> RequestSpec | None:
    if not isinstance(item.value, dict):
        violations.add(item.place, "requests", f"'{excerpt(item.text)}'", "a mapping with a path")
        return None
    entries = dict(item.value)
    name = entries.pop("name", None)
    headers = _pop_headers(entries, violations)
    values = validation.validate(RequestSpec, entries, violations, {}, beside=("name",))
    if "path" not in entries and item.place:
        violations.add(item.place, "path", "nothing", _ALLOWED_PATH)
    if "path" in entries and (not _PATH.fullmatch(path := str(values.get("path", ""))) or TEMPLATE in path):
        violations.add(entries["path"].place, "path", repr(entries["path"].text), _ALLOWED_PATH)
    elif "path" in entries and (wrong := placeholders.unknown(path, placeholders.OF_REQUESTS)):
        violations.add(entries["path"].place, "path", *wrong)
    if name and not _TITLE.fullmatch(name.text):
        violations.add(name.place, "name", f"'{excerpt(name.text)}'", "a text of 1 to 80 visible ASCII characters")
    if "body" in entries:
        if (method := values.get("method", "GET")) in BODILESS:
            violations.add(entries["body"].place, "body", f"a body with {method}", "a body with POST, PUT or PATCH")
        if TEMPLATE in entries["body"].text:
            violations.add(entries["body"].place, "body", f"a text with {TEMPLATE}", f"a text without {TEMPLATE}")
        elif wrong := placeholders.unknown(entries["body"].text, placeholders.OF_REQUESTS):
            found, allowed = wrong
            violations.add(entries["body"].place, "body", found, f"{allowed}; as text, with a space in the braces")
    if not values.get("path"):
        return None
    title = name.text if name else default or f"{values.get('method', 'GET')} {values['path']}"[:80]
    return RequestSpec(name=title, headers=headers, **values)


def _stage(item: SourceValue, violations: Violations) -> Stage | None:
    entries = item.value if isinstance(item.value, dict) else {}
    values = validation.validate(Stage, entries, violations, {})
    if missing := [key for key in Stage.__struct_fields__ if key not in entries]:
        violations.add(item.place, "stages", f"a stage without {missing[0]}", "such as {duration: 10s, target: 50}")
    return Stage(**values) if len(values) == len(Stage.__struct_fields__) else None


def _threshold(item: SourceValue, violations: Violations) -> str:
    try:
        thresholds.parse(item.text)
    except ValueError as error:
        violations.add(item.place, "thresholds", f"'{excerpt(item.text)}'", str(error))
    return item.text


def _check_consistency(entries: SourceValues, workload: Workload, violations: Violations) -> None:
    """Report keys that are valid on their own but contradict each other; keys with a violation of their own are
    skipped."""

    def reject(key: str, found: str, allowed: str) -> None:
        if key in entries and not {key, "model", "stages"} & violations.keys:
            violations.add(entries[key].place, key, found, allowed)

    texts = {key: entry.text for key, entry in entries.items()}
    if workload.model == "closed":
        reject("rate", f"{texts.get('rate')} in the closed model", "rate only with model: open")
        for stage in workload.stages:
            if stage.target > MAX_CLIENTS or stage.target % 1:
                allowed = f"whole numbers of clients up to {MAX_CLIENTS} in the closed model"
                reject("stages", f"a target of {stage.target:g}", allowed)
    else:
        reject(
            "concurrency",
            f"{texts.get('concurrency')} in the open model",
            "rate (requests per second), or model: closed",
        )
        if not workload.rate and not workload.stages:
            reject("model", "open without a rate", "model: open with a rate (requests per second) or stages")
    if workload.stages:
        reject("duration", f"{texts.get('duration')} beside stages", "one of them: the stages' durations add up")
        if not MIN_DURATION_S <= (total := sum(stage.duration for stage in workload.stages)) <= MAX_DURATION_S:
            reject("stages", f"{total:g} s in total", f"{MIN_DURATION_S:g} s to {MAX_DURATION_S} s in total")
        if not any(stage.target for stage in workload.stages):
            reject("stages", "no target above 0", "at least one")
    names = [request.name for request in workload.requests]
    if duplicate := next((title for title in names if names.count(title) > 1), None):
        reject("requests", f"'{excerpt(duplicate)}' twice", "another name for one of them")


def _pop_headers(entries: SourceValues, violations: Violations) -> dict[str, str]:
    """Remove the mapping `headers` from `entries`, check it and return it."""
    headers = entries["headers"].value if "headers" in entries else None
    if not isinstance(headers, dict):
        return {}
    del entries["headers"]
    seen: set[str] = set()
    for name, entry in headers.items():
        if not _NAME.fullmatch(name):
            violations.add(
                entry.place, "headers", f"'{excerpt(name)}'", "the name of a header, such as Accept-Encoding"
            )
        elif name.lower() in _SECRET_HEADERS:
            violations.add(entry.place, "headers", name, "no secret: files are shared, and runs are kept")
        elif name.lower() in _CLIENT_HEADERS | seen:
            violations.add(entry.place, "headers", name, "each header once, and none that the client sets itself")
        elif not _VALUE.fullmatch(entry.text) or TEMPLATE in entry.text:
            found = f"{name} with '{excerpt(entry.text)}'"
            violations.add(entry.place, "headers", found, "a value of up to 1000 visible ASCII characters, without {{")
        elif wrong := placeholders.unknown(entry.text, ()):
            found = f"{name} with {wrong[0].replace('the unknown', 'the')}"
            violations.add(entry.place, "headers", found, "a value without placeholders: only path and body have them")
        seen.add(name.lower())
    return {name: entry.text for name, entry in headers.items()}
