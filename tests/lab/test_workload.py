from __future__ import annotations

from pathlib import Path

import pytest

from bookstore.lab import workload
from bookstore.refusal import Refused


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", workload.names())
def test_shipped(name: str) -> None:
    """Every shipped workload loads, says what it is for, and bears its file's name."""
    one = workload.load(name)
    assert one.name == name
    assert one.description
    assert one.path.startswith("/books")


def test_defaults(tmp_path: Path) -> None:
    """A path is all that a workload needs."""
    one = workload.load(write(tmp_path, "path: /books"))
    assert one == workload.Workload(name="mine", path="/books", concurrency=5, duration=5.0, warm_up=2.0)


def test_values(tmp_path: Path) -> None:
    """Durations are texts with a unit in the file and seconds afterwards."""
    text = "path: /books\nconcurrency: 25\nduration: 1.5m\nwarm_up: 500ms\ndescription: mine"
    one = workload.load(write(tmp_path, text))
    assert (one.concurrency, one.duration, one.warm_up, one.description) == (25, 90.0, 0.5, "mine")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "found nothing"),
        ("concurrency: 5", "path: found nothing; allowed is a path of the service"),
        ("path: books", "path: found 'books'; allowed is a path"),
        ("path: http://elsewhere/books", "allowed is a path"),
        ("path: '/books /2'", "allowed is a path"),
        ("path: /bücher", "allowed is a path"),
        ("path: 5", "path: found 5"),
        ("path: /books\npaht: /books", r"paht: found an unknown key; allowed is path \(did you mean that\?\)"),
        ("path: /books\nname: mine", "name: found an unknown key"),
        ("path: /books\npath: /books", "a second time"),
        ("path: /books\nconcurrency: 0", "concurrency: found 0; allowed is a whole number from 1 to 1000"),
        ("path: /books\nconcurrency: 1001", "from 1 to 1000"),
        ("path: /books\nconcurrency: many", "from 1 to 1000"),
        ("path: /books\nconcurrency: 1.5", "from 1 to 1000"),
        ("path: /books\nduration: 0s", "duration: found the text '0s'; allowed is a duration from 500ms to 1h"),
        ("path: /books\nduration: 5", "duration: found 5; allowed is a duration"),
        ("path: /books\nduration: -1s", "allowed is a duration"),
        ("path: /books\nduration: 10 m", "allowed is a duration"),
        ("path: /books\nwarm_up: 2h", "warm_up: found the text '2h'; allowed is a duration from 0s to 1h"),
    ],
)
def test_refused(text: str, told: str, tmp_path: Path) -> None:
    """A mistake is told with its file, its key, what was found and what is allowed."""
    with pytest.raises(Refused, match=told) as refusal:
        workload.load(write(tmp_path, text))
    assert str(tmp_path / "mine.yaml") in str(refusal.value)


def test_headers(tmp_path: Path) -> None:
    """Headers are a mapping of names to texts, taken as written; without it there are none."""
    text = "path: /books/1\nheaders:\n  Accept-Encoding: gzip;q=1.0, br\n  If-None-Match: '\"7-gzip\"'\n  X-One: 010"
    one = workload.load(write(tmp_path, text))
    assert one.headers == {"Accept-Encoding": "gzip;q=1.0, br", "If-None-Match": '"7-gzip"', "X-One": "010"}
    assert workload.changed(one, {"concurrency": 2}).headers == one.headers
    assert workload.load(write(tmp_path, "path: /books\nheaders: {}")).headers == {}
    assert workload.load("list-100").headers == {}


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ("gzip", "headers: found the text 'gzip'; allowed is a mapping of names to texts"),
        ("", "headers: found nothing.*; allowed is a mapping"),
        ("[a, b]", "headers: found a list; allowed is a plain value"),
        ("{Authorization: Bearer x}", r":3:\d+: headers: found Authorization; allowed is no secret"),
        ("{cookie: a=1}", "headers: found cookie; allowed is no secret"),
        ("{Host: evil}", "headers: found Host; allowed is each header once, and none that the client sets"),
        ("{Accept: a, accept: b}", "headers: found accept; allowed is each header once"),
        ("{Accept: a, Accept: b}", "Accept: found the key a second time"),
        ("{'A b': c}", "headers: found 'A b'; allowed is the name of a header"),
        ("{Accept: 'a\n\n  b'}", "headers: found Accept with .*; allowed is a value of up to 1000"),
        ("{Accept: }", "headers: found Accept with ''; allowed is a value"),
        ("{Accept: '{{ id }}'}", "headers: found Accept with .*without {{"),
        ("{Accept: [a]}", "Accept: found a list; allowed is a plain value"),
        ("{Accept: {a: b}}", "Accept: found a mapping; allowed is a plain value"),
        ("{Accept: !!str a}", "a tag"),
        ("&a {Accept: a}", "headers: found an anchor"),
        ("{Accept: a}\nheaders: {Accept: b}", "headers: found the key a second time"),
    ],
)
def test_wrong_headers(headers: str, told: str, tmp_path: Path) -> None:
    """A secret, what would break the client, and what no header can be is refused where it stands."""
    with pytest.raises(Refused, match=told):
        workload.load(write(tmp_path, f"path: /books\n\nheaders: {headers}"))


def test_every_mistake_at_once(tmp_path: Path) -> None:
    """Two mistakes are told together, a line each."""
    with pytest.raises(Refused) as refusal:
        workload.load(write(tmp_path, "path: books\nconcurrency: 0\nduration: 1d"))
    assert len(str(refusal.value).splitlines()) == 3


def test_unknown_name() -> None:
    """An unknown name is answered with the nearest known one."""
    with pytest.raises(Refused, match=r"no such workload; allowed is list-100 \(did you mean that\?\)"):
        workload.load("list100")


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(Refused, match=r"none\.yaml: cannot be read"):
        workload.load(str(tmp_path / "none.yaml"))


def test_changed() -> None:
    """Arguments go over the file's values; what they do not name stays."""
    before = workload.load("list-100")
    after = workload.changed(before, {"concurrency": 25, "duration": 0.5, "warm_up": 0.0})
    assert (after.concurrency, after.duration, after.warm_up) == (25, 0.5, 0.0)
    assert (after.name, after.path, after.description) == (before.name, before.path, before.description)
    assert workload.changed(before, {}) == before


@pytest.mark.parametrize("values", [{"concurrency": 0}, {"duration": 0.0}, {"duration": 3.6e12}, {"warm_up": 7200.0}])
def test_changed_within_limits(values: dict[str, float]) -> None:
    """Arguments hold within the same limits as a file's values, and the refusal says where it comes from."""
    (key,) = values
    with pytest.raises(Refused, match=rf"command line: {key}: found .*; allowed is"):
        workload.changed(workload.load("list-100"), values)


def test_url() -> None:
    """`{id}` is replaced wherever it stands; a path without it is asked as it is."""
    one = workload.Workload(name="one", path="/books/{id}?again={id}")
    assert one.url("http://host:1", 7) == "http://host:1/books/7?again=7"
    assert workload.Workload(name="all", path="/books").url("http://host:1", 7) == "http://host:1/books"
