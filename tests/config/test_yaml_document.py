from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookstore.config import scalars, validation, yaml_document
from bookstore.config.validation import Violations
from bookstore.exceptions import ConfigurationError


def _read(folder: Path, content: str | bytes) -> validation.SourceValues:
    path = folder / "some.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return yaml_document.read(path)


WHOLE_FILE: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "found nothing"),
    "only comments": ("# a\n# b\n", "found nothing"),
    "an empty document": ("---\n", "found nothing"),
    "a list": ("- a\n- b\n", ":1:1: found a list"),
    "a text": ("hello\n", ":1:1: found a value"),
    "two documents": ("a: 1\n---\nb: 2\n", ":2:1: found a second document"),
    "a tab": ("\ta: 1\n", ":1:1: not YAML"),
    "a tab behind the colon": ("a:\tb\n", ":1:3: not YAML"),
    "bad indent": ("a: 1\n  b: 2\n", ":2:4: not YAML"),
    "an open quote": ('a: "b\n', ":2:1: not YAML"),
    "UTF-16": ("a: 1\n".encode("utf-16"), ":1:1: found bytes that are not UTF-8"),
    "UTF-16 without BOM": ("a: 1\n".encode("utf-16-le"), r":1:2: not YAML: the character '\x00'"),
    "Latin-1": ("a: 1\nb: caf\u00e9\n".encode("latin-1"), ":2:7: found bytes that are not UTF-8"),
    "a bell": ("a: 1\nb: \x07\n", r":2:4: not YAML: the character '\x07'"),
    "an escape without a character": ('a: "\\U00110000"\n', "not YAML"),
    "an absurd version": (f"%YAML 1.{'9' * 5000}\n---\na: 1\n", "not YAML"),
    "100 kB": (f"a: {'b' * 100_000}\n", "more than 65536 bytes"),
    "endless brackets": ("a: " + "[" * 60_000, "nested too deeply"),
    "endless braces": ("a: " + "{" * 60_000, "nested too deeply"),
    "endless lists": ("a:\n" + "- " * 30_000, "nested too deeply"),
    "a tagged root": ("!!python/object/apply:os.system\na: 1\n", ":1:1: found a tag (!)"),
}


@pytest.mark.parametrize("case", WHOLE_FILE)
def test_rejects_other_documents(case: str, tmp_path: Path) -> None:
    """A file that is not one flat mapping is rejected with its place and what was found."""
    content, expected = WHOLE_FILE[case]
    with pytest.raises(ConfigurationError) as caught:
        _read(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "some.yaml"))
    assert expected in str(caught.value)


VALUES = {
    "a list": ("a: [1, 2]\n", ":1:1: a: found a list; allowed is a plain value"),
    "a mapping": ("a:\n  b: 1\n", ":1:1: a: found a mapping"),
    "a tag": ("b: 1\na: !!str 1\n", ":2:1: a: found a tag (!)"),
    "python": ("a: !!python/object/apply:os.system [id]\n", ":1:1: a: found a tag (!)"),
    "an include": ("a: !include other.yaml\n", ":1:1: a: found a tag (!)"),
    "an anchor": ("a: &x 1\n", ":1:1: a: found an anchor (&)"),
    "an alias": ("a: *x\n", ":1:1: a: found an alias (*)"),
    "a merge": ("<<: *x\n", ":1:1: <<: found an alias (*)"),
    "a list as a key": ("? [a]\n: 1\n", ":1:3: ?: found a list as a key"),
    "a tagged key": ("!!str a: 1\n", ":1:1: ?: found a tag (!) as a key"),
    "a duplicate": ("a: 1\nb: 2\na: 3\n", ":3:1: a: found the key a second time (first in line 1)"),
    "a bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", ":2:1: b: found an anchor (&)"),
}


@pytest.mark.parametrize("case", VALUES)
def test_rejects_values_that_are_not_plain(case: str, tmp_path: Path) -> None:
    """A value that is not plain is rejected with file, line, column, key and what is allowed."""
    content, expected = VALUES[case]
    with pytest.raises(ConfigurationError) as caught:
        _read(tmp_path, content)
    assert f"{tmp_path / 'some.yaml'}{expected}" in str(caught.value)


def test_reports_all_violations_in_order(tmp_path: Path) -> None:
    """One message has all violations of a file from top to bottom, including those before a syntax error."""
    with pytest.raises(ConfigurationError) as caught:
        _read(tmp_path, "a: [1]\nb: 1\nb: 2\nc: !x 1\nd: {e: 1}\nf: 1: 2\n")
    places = [line.removeprefix(f"{tmp_path}/some.yaml:").split(":")[0] for line in str(caught.value).split("\n")]
    assert places == ["1", "3", "4", "5", "6"]


def test_returns_valid_keys(tmp_path: Path) -> None:
    """With a Violations argument, valid keys are returned beside violations and nothing is raised."""
    path = tmp_path / "some.yaml"
    path.write_text("a: 1\nb: [2]\nc: 3\n")
    violations = Violations()
    assert {key: entry.value for key, entry in yaml_document.read(path, violations).items()} == {"a": 1, "c": 3}
    assert violations.keys == {"b"}
    assert not violations.incomplete


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere.yaml")


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a fifo": (_fifo, "other than a regular file"),
    "a folder": (Path.mkdir, "other than a regular file"),
    "a dangling link": (_dangling, "No such file"),
    "a link to itself": (_loop, "symbolic links"),
    "a device": (_zero, "other than a regular file"),
    "missing": (lambda _: None, "No such file"),
}


@pytest.mark.parametrize("case", FILES)
def test_rejects_other_files(case: str, tmp_path: Path) -> None:
    """Anything but a readable regular file is rejected by name, without blocking or filling memory."""
    make, expected = FILES[case]
    path = tmp_path / "some.yaml"
    make(path)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        yaml_document.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_rejects_unreadable_file(tmp_path: Path) -> None:
    """A file without read permission is rejected by name."""
    path = tmp_path / "some.yaml"
    path.write_text("a: 1\n")
    path.chmod(0)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        yaml_document.read(path)


@pytest.mark.parametrize("name", ["a\0b.yaml", "\ud800.yaml", "x" * 300 + ".yaml"])
def test_rejects_invalid_file_names(name: str, tmp_path: Path) -> None:
    """A name that the file system does not allow is rejected with a printable message."""
    with pytest.raises(ConfigurationError) as caught:
        yaml_document.read(tmp_path / name)
    str(caught.value).encode()


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa: 1\nb: x\n", b"a: 1\r\nb: x\r\n", b"{a: 1, b: 'x'}"])
def test_editor_formats(content: bytes, tmp_path: Path) -> None:
    """A byte order mark, Windows line ends and the flow style do not change the result."""
    assert {key: entry.value for key, entry in _read(tmp_path, content).items()} == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("on", True), ("false", False), ("off", False), ("null", None), ("~", None),
        ("", None),
        ("0", 0), ("-1", -1), ("+5", 5), ("1.5", 1.5), ("-0.5e3", -500.0),
        *((text, text) for text in (
            "yes", "no", "True", "ON", "Null", "010", "0x10", "0o10", "1_000", "2:30", ".inf", ".nan", "1e9",
            "1.", ".5", "2s", "\u0661", "9" * 5000,
        )),
    ],
)  # fmt: skip
def test_scalars_are_yaml_1_2(text: str, value: object) -> None:
    """Plain scalars mean what they look like; other readings of YAML 1.1 stay texts."""
    assert scalars.scalar(text) == value
    assert type(scalars.scalar(text)) is type(value)


def test_quoted_scalars_are_texts(tmp_path: Path) -> None:
    """A quoted scalar is a text, whatever it looks like."""
    entries = _read(tmp_path, "a: \"10\"\nb: 'on'\nc: null\n")
    assert [entry.value for entry in entries.values()] == ["10", "on", None]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2.0), ("1.5m", 90.0), ("1h", 3600.0), ("0s", 0.0), ("0.1s", 0.1), ("100ms", 0.1)],
)
def test_durations(text: str, seconds: float) -> None:
    """A duration is a decimal number and a unit, and is parsed to seconds."""
    assert scalars.duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "2", "s", "-1s", "+1s", "1 s", "2 S", "1d", ".5s", "01s", "1e3s", "infs", "1s\n", "\u0661s", "9" * 400 + "h"],
)
def test_invalid_durations(text: str) -> None:
    """An invalid duration raises ValueError."""
    with pytest.raises(ValueError, match="not a duration"):
        scalars.duration(text)


@settings(deadline=None)  # a busy machine must not fail the test
@given(st.floats(min_value=0, max_value=1e12))
def test_duration_text_is_the_inverse(seconds: float) -> None:
    """A formatted duration parses to exactly the same number of seconds."""
    assert scalars.duration(scalars.duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "500ms"), (2, "2s"), (90, "90s"), (1800, "30m"), (7200, "2h"), (0, "0s"), (2.5, "2.5s")],
)
def test_duration_text_is_short(seconds: float, text: str) -> None:
    """A duration is formatted in the unit that a person would choose."""
    assert scalars.duration_text(seconds) == text


@pytest.mark.parametrize(
    "word", ["pool_szie", "POOL_SIZE", "Pool-Size", "pool-size", "poolSize", "pool size", "poolsize"]
)
def test_suggestion_is_the_nearest(word: str) -> None:
    """For a misspelt word the nearest known one is suggested, whatever its case and dashes."""
    assert validation.suggestion(word, ["max_overflow", "pool_size", "echo"]).startswith("pool_size ")


def test_suggestion_without_a_match() -> None:
    """For a word that resembles no other all known words are listed."""
    assert validation.suggestion("zzz", ["b", "a"]) == "a, b"


@settings(deadline=None)  # a busy machine must not fail the test
@given(st.one_of(st.binary(max_size=400), st.text(max_size=400).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_content_is_handled(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever a file contains, reading it returns entries or raises a printable ConfigurationError."""
    try:
        _read(tmp_path_factory.getbasetemp(), content)
    except ConfigurationError as error:
        str(error).encode()


@settings(deadline=None)  # a busy machine must not fail the test
@given(st.text(alphabet="ab:?-[]{}&*!|>'\"%#\\xU0\n \t,.", max_size=60))
def test_any_yaml_is_handled(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    """The same for texts made of YAML's special characters."""
    try:
        _read(tmp_path_factory.getbasetemp(), content)
    except ConfigurationError as error:
        str(error).encode()
