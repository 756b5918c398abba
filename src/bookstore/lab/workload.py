"""Workloads: YAML -> what to ask and how fast. A closed model: a fixed number of clients, each asking its
next question when it has the answer to the last one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bookstore import document
from bookstore.document import Entries, Mistakes
from bookstore.refusal import Refused
from bookstore.resources import shipped
from bookstore.scalars import shown

_SECONDS: Final = {"duration": True}
_DURATIONS: Final = ("duration", "warm_up")
_PATH: Final = re.compile(r"/[!-~]*")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE: Final = re.compile(r"(?!.*\{\{)[!-~]([ -~]{0,998}[!-~])?")  # k9 fills in what stands in two braces
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_CLIENTS: Final = frozenset({"connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"})


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is asked by `concurrency` clients over kept-alive connections, first for `warm_up` seconds that
    no figure counts, then for `duration` seconds. `{id}` in the path is a random book's id. `headers` go with
    each request.
    """

    name: str
    description: Annotated[str, Meta(max_length=400)] = ""
    path: Annotated[str, Meta(max_length=2000)]
    headers: dict[str, str] = {}
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 5
    duration: Annotated[float, Meta(ge=0.5, le=3600, extra=_SECONDS)] = 5.0
    warm_up: Annotated[float, Meta(ge=0, le=3600, extra=_SECONDS)] = 2.0

    def url(self, base: str, book_id: object) -> str:
        """The address of one request, `book_id` standing for `{id}`."""
        return base + self.path.replace("{id}", str(book_id))


def names() -> list[str]:
    """The shipped workloads, sorted."""
    return sorted(path.stem for path in shipped("workloads").glob("*.yaml"))


def load(spec: str) -> Workload:
    """The shipped workload of this name, or the file at this path.

    Raises Refused with every mistake, a line each.
    """
    is_path = "/" in spec or spec.endswith((".yaml", ".yml"))
    path = Path(spec).expanduser() if is_path else shipped("workloads") / f"{spec}.yaml"
    if not is_path and spec not in names():
        raise Refused(
            f"workload {spec!r}: no such workload; allowed is {document.suggestion(spec, names())}, "
            f"or the path of a .yaml file"
        )
    entries = document.read(path, mappings=("headers",))
    mistakes = Mistakes()
    headers = _headers(entries, mistakes)
    values = document.fit(Workload, entries, mistakes, {}) | headers
    if "path" not in entries:
        mistakes.add(str(path), "path", "nothing", "a path of the service, such as /books?limit=100")
    elif not _PATH.fullmatch(str(values.get("path", "/"))):
        mistakes.add(entries["path"].place, "path", repr(entries["path"].text), "a path, such as /books?limit=100")
    mistakes.raise_any()
    return Workload(name=path.stem, **values)


def _headers(entries: Entries, mistakes: Mistakes) -> dict[str, dict[str, str]]:
    """Takes the mapping `headers` out of `entries`: {"headers": …}, or nothing where there is none."""
    named = entries["headers"].value if "headers" in entries else None
    if not isinstance(named, dict):
        return {}
    del entries["headers"]
    seen: set[str] = set()
    for name, entry in named.items():
        if not _NAME.fullmatch(name):
            mistakes.add(entry.place, "headers", f"'{shown(name)}'", "the name of a header, such as Accept-Encoding")
        elif name.lower() in _SECRET:
            mistakes.add(entry.place, "headers", name, "no secret: files are shared, and runs are kept")
        elif name.lower() in _CLIENTS | seen:
            mistakes.add(entry.place, "headers", name, "each header once, and none that the client sets itself")
        elif not _VALUE.fullmatch(entry.text):
            found = f"{name} with '{shown(entry.text)}'"
            mistakes.add(entry.place, "headers", found, "a value of up to 1000 visible ASCII characters, without {{")
        seen.add(name.lower())
    return {"headers": {name: entry.text for name, entry in named.items()}}


def changed(workload: Workload, values: dict[str, float]) -> Workload:
    """The workload with arguments of the command line over its file's values, which hold within the same
    limits. Raises Refused."""
    mistakes = Mistakes()
    texts = {key: document.duration_text(value) if key in _DURATIONS else str(value) for key, value in values.items()}
    entries = {key: document.Entry(document.scalar(text), text, "command line") for key, text in texts.items()}
    fitted = document.fit(Workload, entries, mistakes, {})
    mistakes.raise_any()
    return msgspec.structs.replace(workload, **fitted)
