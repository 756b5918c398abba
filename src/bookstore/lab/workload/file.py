"""Workload files: YAML -> Workload, strict as profiles are, `name@key=value` on top.

`path: /books?limit=100`, with `headers` where wanted, is short for `requests` with one GET.
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
from bookstore.lab.workload import thresholds
from bookstore.lab.workload.spec import MAX_CLIENTS, RequestSpec, Stage, Workload
from bookstore.profile import layers

SHORTHAND_KEYS: Final = ("path", "headers")
"""The keys that stand for `requests` in a workload of one GET."""

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
"""k9 fills in what stands in two braces."""
MAX_ITEMS: Final = 50
MIN_DURATION_S: Final = 0.5
MAX_DURATION_S: Final = 3600


def names() -> list[str]:
    """The shipped workloads, sorted."""
    return sorted(path.stem for path in shipped("workloads").glob("*.yaml"))


def load(spec: str) -> Workload:
    """The workload that `spec` names: a shipped name or a path, with `@key=value,key=value` behind it.

    Raises ConfigurationError with every mistake, a line each: `file:line:column: key: found …; allowed is …`.
    """
    return read(spec)[0]


def read(spec: str) -> tuple[Workload, dict[str, str]]:
    """As load; and the place of each key that was said."""
    mistakes = Violations()
    base, _ = layers.split(spec)
    is_path = layers.is_path(base)
    if not is_path and base not in names():
        raise ConfigurationError(
            f"workload '{excerpt(base)}': no such workload; allowed is {validation.suggestion(base, names())}, "
            f"or the path of a .yaml file"
        )
    path = Path(base).expanduser() if is_path else shipped("workloads") / f"{base}.yaml"
    entries = _override(yaml_document.read(path, mistakes, ("headers",), _LISTS), layers.overrides(spec, mistakes))
    origins = {key: entry.place for key, entry in entries.items()}
    if not {"path", "requests"} & entries.keys() and not mistakes.incomplete:
        mistakes.add(str(path), "path", "nothing", f"{_ALLOWED_PATH}; or a list of requests")
    values = _values(path.stem[:80], entries, mistakes)
    workload = Workload(name=layers.label(spec), **{"requests": [RequestSpec(name="", path="/")], **values})
    _check_consistency(entries, workload, mistakes)
    mistakes.raise_any()
    return workload, origins


def with_values(workload: Workload, values: dict[str, float]) -> Workload:
    """The workload with arguments of the command line over its file's values, which hold within the same
    limits. Raises ConfigurationError."""
    mistakes = Violations()
    texts = {
        key: scalars.duration_text(value) if key in _DURATIONS else str(int(value) if value == int(value) else value)
        for key, value in values.items()
    }
    entries = {key: SourceValue(scalars.scalar(text), text, "command line") for key, text in texts.items()}
    fitted = validation.validate(Workload, entries, mistakes, {})
    changed = msgspec.structs.replace(workload, **fitted)
    _check_consistency(entries, changed, mistakes)
    mistakes.raise_any()
    return changed


def _override(file: SourceValues, overrides: SourceValues) -> SourceValues:
    """`overrides` over the file's. What another model leaves without meaning is not taken over from the file."""
    gone: set[str] = set()
    if "model" in overrides:
        gone |= {"stages", "rate" if overrides["model"].text == "closed" else "concurrency"}
    if "duration" in overrides:
        gone.add("stages")
    return {key: entry for key, entry in file.items() if key not in gone | overrides.keys()} | overrides


def _values(name: str, entries: SourceValues, mistakes: Violations) -> dict[str, Any]:
    rest = dict(entries)
    if "requests" in rest:
        for key in SHORTHAND_KEYS:
            if entry := rest.pop(key, None):
                mistakes.add(entry.place, key, "it beside requests", "either requests, or the path of one GET")
        requests = [_request(item, mistakes) for item in _pop_list(rest, "requests")]
    else:
        short = {key: rest.pop(key) for key in SHORTHAND_KEYS if key in rest}
        requests = [_request(SourceValue(short, "", ""), mistakes, name)] if short else []
    stages = [_stage(item, mistakes) for item in _pop_list(rest, "stages")]
    texts = [_threshold(item, mistakes) for item in _pop_list(rest, "thresholds")]
    values = validation.validate(Workload, rest, mistakes, {}, beside=SHORTHAND_KEYS)
    gathered: dict[str, list[Any]] = {"requests": requests, "stages": stages, "thresholds": texts}
    for key, found in gathered.items():
        if all(found) and found:
            values[key] = found
    _check_lengths(entries, mistakes)
    return values | ({"duration": sum(one.duration for one in stages if one)} if stages else {})


def _pop_list(entries: SourceValues, key: str) -> list[SourceValue]:
    """The items of the list `key`, which is taken out of `entries`; none where there is no such list."""
    found = entries[key].value if key in entries else None
    if not isinstance(found, list):
        return []
    del entries[key]
    return found


def _check_lengths(entries: SourceValues, mistakes: Violations) -> None:
    for key in _LISTS:
        found = entries[key].value if key in entries else None
        if isinstance(found, list) and not (key == "requests") <= len(found) <= MAX_ITEMS:
            least = "1 to" if key == "requests" else "up to"
            mistakes.add(entries[key].place, key, f"a list of {len(found)}", f"a list of {least} {MAX_ITEMS}")


def _request(item: SourceValue, mistakes: Violations, default: str | None = None) -> RequestSpec | None:
    if not isinstance(item.value, dict):
        mistakes.add(item.place, "requests", f"'{excerpt(item.text)}'", "a mapping with a path")
        return None
    entries = dict(item.value)
    name = entries.pop("name", None)
    headers = _pop_headers(entries, mistakes)
    values = validation.validate(RequestSpec, entries, mistakes, {}, beside=("name",))
    if "path" not in entries and item.place:
        mistakes.add(item.place, "path", "nothing", _ALLOWED_PATH)
    if "path" in entries and (not _PATH.fullmatch(path := str(values.get("path", ""))) or TEMPLATE in path):
        mistakes.add(entries["path"].place, "path", repr(entries["path"].text), _ALLOWED_PATH)
    if name and not _TITLE.fullmatch(name.text):
        mistakes.add(name.place, "name", f"'{excerpt(name.text)}'", "a text of 1 to 80 visible ASCII characters")
    if "body" in entries:
        if (method := values.get("method", "GET")) in BODILESS:
            mistakes.add(entries["body"].place, "body", f"one with {method}", "one with POST, PUT or PATCH")
        if TEMPLATE in entries["body"].text:
            mistakes.add(entries["body"].place, "body", f"a text with {TEMPLATE}", f"one without {TEMPLATE}")
    if not values.get("path"):
        return None
    title = name.text if name else default or f"{values.get('method', 'GET')} {values['path']}"[:80]
    return RequestSpec(name=title, headers=headers, **values)


def _stage(item: SourceValue, mistakes: Violations) -> Stage | None:
    entries = item.value if isinstance(item.value, dict) else {}
    values = validation.validate(Stage, entries, mistakes, {})
    if missing := [key for key in Stage.__struct_fields__ if key not in entries]:
        mistakes.add(item.place, "stages", f"a stage without {missing[0]}", "such as {duration: 10s, target: 50}")
    return Stage(**values) if len(values) == len(Stage.__struct_fields__) else None


def _threshold(item: SourceValue, mistakes: Violations) -> str:
    try:
        thresholds.parse(item.text)
    except ValueError as error:
        mistakes.add(item.place, "thresholds", f"'{excerpt(item.text)}'", str(error))
    return item.text


def _check_consistency(entries: SourceValues, workload: Workload, mistakes: Violations) -> None:
    """What is right alone and cannot stand together; nothing is said about keys that are wrong alone."""

    def wrong(key: str, found: str, allowed: str) -> None:
        if key in entries and not {key, "model", "stages"} & mistakes.keys:
            mistakes.add(entries[key].place, key, found, allowed)

    said = {key: entry.text for key, entry in entries.items()}
    if workload.model == "closed":
        wrong("rate", f"{said.get('rate')} in the closed model", "rate beside model: open alone")
        for stage in workload.stages:
            if stage.target > MAX_CLIENTS or stage.target % 1:
                allowed = f"whole numbers of clients up to {MAX_CLIENTS} in the closed model"
                wrong("stages", f"a target of {stage.target:g}", allowed)
    else:
        wrong(
            "concurrency", f"{said.get('concurrency')} in the open model", "rate (requests a second), or model: closed"
        )
        if not workload.rate and not workload.stages:
            wrong("model", "open without a rate", "model: open beside a rate (requests a second) or stages")
    if workload.stages:
        wrong("duration", f"{said.get('duration')} beside stages", "one of them: the stages' durations add up")
        if not MIN_DURATION_S <= (total := sum(stage.duration for stage in workload.stages)) <= MAX_DURATION_S:
            wrong("stages", f"{total:g} s altogether", f"{MIN_DURATION_S:g} s to {MAX_DURATION_S} s altogether")
        if not any(stage.target for stage in workload.stages):
            wrong("stages", "no target above 0", "at least one")
    titles = [ask.name for ask in workload.requests]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        wrong("requests", f"'{excerpt(twice)}' twice", "another name for one of them")


def _pop_headers(entries: SourceValues, mistakes: Violations) -> dict[str, str]:
    """Takes the mapping `headers` out of `entries`."""
    named = entries["headers"].value if "headers" in entries else None
    if not isinstance(named, dict):
        return {}
    del entries["headers"]
    seen: set[str] = set()
    for name, entry in named.items():
        if not _NAME.fullmatch(name):
            mistakes.add(entry.place, "headers", f"'{excerpt(name)}'", "the name of a header, such as Accept-Encoding")
        elif name.lower() in _SECRET_HEADERS:
            mistakes.add(entry.place, "headers", name, "no secret: files are shared, and runs are kept")
        elif name.lower() in _CLIENT_HEADERS | seen:
            mistakes.add(entry.place, "headers", name, "each header once, and none that the client sets itself")
        elif not _VALUE.fullmatch(entry.text) or TEMPLATE in entry.text:
            found = f"{name} with '{excerpt(entry.text)}'"
            mistakes.add(entry.place, "headers", found, "a value of up to 1000 visible ASCII characters, without {{")
        seen.add(name.lower())
    return {name: entry.text for name, entry in named.items()}
