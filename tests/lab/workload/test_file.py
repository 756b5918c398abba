from __future__ import annotations

from pathlib import Path

import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", workload_file.names())
def test_shipped(name: str) -> None:
    """Every shipped workload loads, has a description, and is named after its file."""
    workload = workload_file.load(name)
    assert workload.name == name
    assert workload.description
    assert all(request.path.startswith("/books") for request in workload.requests)


def test_defaults(tmp_path: Path) -> None:
    """A path is enough to define a workload."""
    workload = workload_file.load(write(tmp_path, "path: /books"))
    request = RequestSpec(name="mine", path="/books")
    assert workload == Workload(name="mine", requests=[request], concurrency=5, duration=3.0, warm_up=5.0)


def test_values(tmp_path: Path) -> None:
    """Durations have a unit in the file and are seconds in the struct."""
    text = "path: /books\nconcurrency: 25\nduration: 1.5m\nwarm_up: 500ms\ndescription: mine"
    workload = workload_file.load(write(tmp_path, text))
    assert (workload.concurrency, workload.duration, workload.warm_up, workload.description) == (25, 90.0, 0.5, "mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found nothing"),
        ("concurrency: 5", "path: found nothing; allowed is a path of the service"),
        ("path: books", "path: found 'books'; allowed is a path"),
        ("path: http://elsewhere/books", "allowed is a path"),
        ("path: '/books /2'", "allowed is a path"),
        ("path: /bücher", "allowed is a path"),
        ("path: 5", "path: found 5"),
        ("path: /books/{ids}", r":1:1: path: found the unknown placeholder \{ids\}; allowed is \{id\} \(did you mean"),
        ("path: /books/{isbn-13}", r"placeholder \{isbn-13\}; allowed is \{id\}, \{number\}, \{uuid\}$"),
        (
            "path: /books\nheaders: {X-Key: 'a{uuid}'}",
            r"headers: found X-Key with the placeholder \{uuid\}; allowed is a",
        ),
        (
            'requests: [{method: POST, path: /b, body: \'{"a": {"year": {numbr}}}\'}]',
            r"body: found the unknown placeholder \{numbr\}; allowed is \{number\} \(.*\); as text, with",
        ),
        ("path: /books\npaht: /books", r"paht: found an unknown key; allowed is path \(did you mean that\?\)"),
        ("path: /books\nname: mine", "name: found an unknown key"),
        ("path: /books\nrequests:\n  - path: /books", r":1:1: path: found path beside requests"),
        ("requests: []", "requests: found a list of 0; allowed is a list of 1 to 50"),
        ("requests: /books", "requests: found the text '/books'; allowed is a list of mappings"),
        ("requests:\n  - /books", r":2:5: requests: found '/books'; allowed is a mapping with a path"),
        ("requests:\n  - [a]", r":2:5: requests: found a list"),
        ("requests:\n  - &a {path: /books}", r":2:5: requests: found an anchor"),
        ("requests:\n  - method: GET", r":2:5: path: found nothing; allowed is a path of the service"),
        ("requests:\n  - path: /books\n    wieght: 2", r":3:5: wieght: found an unknown key; allowed is weight"),
        ("requests:\n  - path: /books\n    weight: 0", r":3:5: weight: found 0; allowed is a whole number from 1 to"),
        ("requests:\n  - {path: /books, method: get}", r"method: found the text 'get'; allowed is GET \| HEAD \| POST"),
        ("requests:\n  - {path: /books, body: '{}'}", "body: found a body with GET; allowed is a body with POST"),
        ("requests:\n  - {path: /books, method: POST, body: '{{id}}'}", "body: found a text with {{"),
        ("requests:\n  - {path: '/books/{{id}}'}", "path: found '/books/{{id}}'"),
        ("requests:\n  - {path: /books, headers: {cookie: a}}", r":2:30: headers: found cookie; allowed is no secret"),
        ("requests:\n  - {path: /books, name: é}", "name: found 'é'; allowed is a text of 1 to 80"),
        ("requests:\n  - path: /books\n  - path: /books", ":1:1: requests: found 'GET /books' twice"),
        ("path: /books\nkeys: zipfian", r"keys: found the text 'zipfian'; allowed is uniform \| zipf"),
        ("path: /books\nmodel: half-open", r"model: found the text 'half-open'; allowed is closed \| open"),
        ("path: /books\nrate: 5", "rate: found 5 in the closed model; allowed is rate only with model: open"),
        ("path: /books\nmodel: open", "model: found open without a rate"),
        ("path: /books\nmodel: open\nrate: 0", "rate: found 0; allowed is a number from 0.1 to 100000"),
        ("path: /books\nmodel: open\nrate: 5\nconcurrency: 5", "concurrency: found 5 in the open model"),
        ("path: /books\nstages: [5]", r":2:10: stages: found a stage without duration"),
        ("path: /books\nstages:\n- {duration: 1s}", r":3:3: stages: found a stage without target"),
        ("path: /books\nstages:\n- {duration: 1, target: 1}", r":3:4: duration: found 1; allowed is a duration"),
        ("path: /books\nstages:\n- {duration: 1s, target: 1, vus: 2}", "vus: found an unknown key"),
        ("path: /books\nstages:\n- {duration: 1s, target: 1.5}", "stages: found a target of 1.5; allowed is whole"),
        ("path: /books\nstages:\n- {duration: 1s, target: 1001}", "stages: found a target of 1001"),
        ("path: /books\nstages:\n- {duration: 1s, target: 0}", "stages: found no target above 0"),
        ("path: /books\nstages:\n- {duration: 100ms, target: 1}", "stages: found 0.1 s in total"),
        ("path: /books\nduration: 1s\nstages:\n- {duration: 1s, target: 1}", "duration: found 1s beside stages"),
        ("path: /books\nthresholds: p(95)<200", "thresholds: found the text .*; allowed is a list of texts"),
        ("path: /books\nthresholds:\n  - p95<200", r":3:5: thresholds: found 'p95<200'; allowed is p\(95\)<200"),
        ("path: /books\nbooks: 0", "books: found 0; allowed is a whole number from 1 to 10000000"),
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
def test_rejected(text: str, message: str, tmp_path: Path) -> None:
    """An error names the file, the key, the value found and what is allowed."""
    with pytest.raises(ConfigurationError, match=message) as error:
        workload_file.load(write(tmp_path, text))
    assert str(tmp_path / "mine.yaml") in str(error.value)


def test_headers(tmp_path: Path) -> None:
    """Headers map names to texts and are taken as written; the default is no headers."""
    text = "path: /books/1\nheaders:\n  Accept-Encoding: gzip;q=1.0, br\n  If-None-Match: '\"7-gzip\"'\n  X-One: 010"
    workload = workload_file.load(write(tmp_path, text))
    assert workload.requests[0].headers == {
        "Accept-Encoding": "gzip;q=1.0, br",
        "If-None-Match": '"7-gzip"',
        "X-One": "010",
    }
    assert workload_file.with_values(workload, {"concurrency": 2}).requests[0].headers == workload.requests[0].headers
    assert workload_file.load(write(tmp_path, "path: /books\nheaders: {}")).requests[0].headers == {}
    assert workload_file.load("list-100").requests[0].headers == {}


@pytest.mark.parametrize(
    ("headers", "message"),
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
def test_wrong_headers(headers: str, message: str, tmp_path: Path) -> None:
    """Secrets, headers the client sets itself, and malformed headers are rejected with their place."""
    with pytest.raises(ConfigurationError, match=message):
        workload_file.load(write(tmp_path, f"path: /books\n\nheaders: {headers}"))


def test_all_errors_at_once(tmp_path: Path) -> None:
    """Several errors in a file are reported together, one line each."""
    with pytest.raises(ConfigurationError) as error:
        workload_file.load(write(tmp_path, "path: books\nconcurrency: 0\nduration: 1d"))
    assert len(str(error.value).splitlines()) == 3


def test_unknown_name() -> None:
    """The message for an unknown name suggests the closest known one."""
    with pytest.raises(ConfigurationError, match=r"no such workload; allowed is list-100 \(did you mean that\?\)"):
        workload_file.load("list100")


def test_missing_file(tmp_path: Path) -> None:
    """The message for a missing file names it."""
    with pytest.raises(ConfigurationError, match=r"none\.yaml: cannot be read"):
        workload_file.load(str(tmp_path / "none.yaml"))


def test_with_values() -> None:
    """Command-line values replace the file's; all other values stay."""
    before = workload_file.load("list-100")
    after = workload_file.with_values(before, {"concurrency": 25, "duration": 0.5, "warm_up": 0.0})
    assert (after.concurrency, after.duration, after.warm_up) == (25, 0.5, 0.0)
    assert (after.name, after.requests, after.description) == (before.name, before.requests, before.description)
    assert workload_file.with_values(before, {}) == before


@pytest.mark.parametrize("values", [{"concurrency": 0}, {"duration": 0.0}, {"duration": 3.6e12}, {"warm_up": 7200.0}])
def test_values_within_limits(values: dict[str, float]) -> None:
    """Command-line values have the same limits as a file's, and the message names the command line as their source."""
    (key,) = values
    with pytest.raises(ConfigurationError, match=rf"command line: {key}: found .*; allowed is"):
        workload_file.with_values(workload_file.load("list-100"), values)


def test_requests(tmp_path: Path) -> None:
    """Requests keep their order, weights, headers and bodies; the default name is method and path."""
    text = """
keys: zipf
requests:
  - {name: detail, path: "/books/{id}", weight: 9}
  - method: PATCH
    path: /books/{id}
    headers: {If-Match: "*"}
    body: '{"publication_year": {number}}'
"""
    workload = workload_file.load(write(tmp_path, text))
    assert workload.keys == "zipf"
    assert workload.requests == [
        RequestSpec(name="detail", path="/books/{id}", weight=9),
        RequestSpec(
            name="PATCH /books/{id}", method="PATCH", path="/books/{id}", headers={"If-Match": "*"},
            body='{"publication_year": {number}}',
        ),
    ]  # fmt: skip


def test_stages(tmp_path: Path) -> None:
    """With stages the measured time is the sum of their durations."""
    text = "path: /books\nmodel: open\nstages:\n  - {duration: 10s, target: 2.5}\n  - {duration: 500ms, target: 0}"
    workload = workload_file.load(write(tmp_path, text))
    assert workload.stages == [Stage(duration=10, target=2.5), Stage(duration=0.5, target=0)]
    assert (workload.duration, workload.rate, workload.start) == (10.5, None, 2.5)


def test_overrides(tmp_path: Path) -> None:
    """`name@key=value` replaces the file's value, becomes part of the name, and drops keys that lose their meaning."""
    workload = workload_file.load("list-20@concurrency=25,duration=1m")
    assert (workload.name, workload.concurrency, workload.duration) == ("list-20@concurrency=25,duration=1m", 25, 60.0)
    assert workload.requests == workload_file.load("list-20").requests
    assert workload_file.load("open-200@model=closed").rate is None
    assert workload_file.load("ramp@duration=5s").stages == []
    path = write(tmp_path, "path: /books\nconcurrency: 9")
    assert workload_file.load(f"{path}@model=open,rate=3").rate == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("list-20@concurrency=0", "list-20@concurrency=0: concurrency: found 0; allowed is a whole number"),
        ("list-20@rate=5", "rate: found 5 in the closed model"),
        ("list-20@concurency=5", r"an unknown key; allowed is concurrency \(did you mean that\?\)"),
        ("list-20@", "no key=value"),
        ("list-20@concurrency", "no key=value"),
        ("list-20@path=/books/{ids}", r"the unknown placeholder \{ids\}; allowed is \{id\}"),
        ("list-20@books=5,books=6", "the key a second time"),
        ("list-20@extends=list-100", "extends: found an unknown key"),
        ("list-20@stages=5", "stages: found 5; allowed is a list of mappings"),
        ("list-21@concurrency=5", "workload 'list-21': no such workload"),
    ],
)
def test_wrong_overrides(spec: str, message: str) -> None:
    """An error in an override is reported with the override."""
    with pytest.raises(ConfigurationError, match=message):
        workload_file.load(spec)


def test_origins(tmp_path: Path) -> None:
    """Each key that was set has its place."""
    path = write(tmp_path, "path: /books\nconcurrency: 9")
    _, origins = workload_file.read(f"{path}@duration=2s")
    assert list(origins) == ["path", "concurrency", "duration"]
    assert (origins["path"], origins["concurrency"]) == (f"{path}:1:1", f"{path}:2:1")


def test_contradicting_values() -> None:
    """Command-line values that contradict the workload are rejected, too."""
    with pytest.raises(ConfigurationError, match="command line: concurrency: found 5 in the open model"):
        workload_file.with_values(workload_file.load("open-200"), {"concurrency": 5})
    with pytest.raises(ConfigurationError, match="command line: duration: found 5s beside stages"):
        workload_file.with_values(workload_file.load("ramp"), {"duration": 5.0})
