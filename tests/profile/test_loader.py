from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bookstore.config.resources import shipped
from bookstore.exceptions import ConfigurationError
from bookstore.profile import engine_profile, json_schema, layers, loader, rendering
from bookstore.profile.engine_profile import EngineProfile


def _file(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def _load_error(spec: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loader.load(spec)
    return str(caught.value)


POOL_SIZE = "a whole number from 1 to 1000"
OVERFLOW = "a whole number from 0 to 1000"
TIMEOUT = "a duration from 100ms to 10m, such as 500ms or 2s"
DRIVERS = "asyncpg | psycopg | psycopg-sync"
UNLIMITED = "which means unlimited in SQLAlchemy and would break the connection budget"
NEAR = "{} (did you mean that?)"

WRONG = [
    ("pool_szie: 5", "an unknown key", NEAR.format("pool_size")),
    ("Pool_Size: 5", "an unknown key", NEAR.format("pool_size")),
    ("pool-size: 5", "an unknown key", NEAR.format("pool_size")),
    ("extend: default", "an unknown key", NEAR.format("extends")),
    ("names: x", "an unknown key", ", ".join(sorted([*engine_profile.KEYS, "extends"]))),
    ("name: x", "an unknown key", ", ".join(sorted([*engine_profile.KEYS, "extends"]))),
    ("password: secret", "an unknown key", ", ".join(sorted([*engine_profile.KEYS, "extends"]))),
    ("driver: asyncpgg", "the text 'asyncpgg'", DRIVERS),
    ("driver: AsyncPG", "the text 'AsyncPG'", DRIVERS),
    ("driver: null", "nothing (null)", DRIVERS),
    ("driver:", "nothing", DRIVERS),
    ("driver: [asyncpg]", "a list", "a plain value"),
    ("driver: off", "off", DRIVERS),
    ("driver: ${DRIVER}", "the text '${DRIVER}'", DRIVERS),
    ("loading: eager", "the text 'eager'", "lazy | joined | selectin | subquery | rows | json"),
    ("pool: none", "the text 'none'", "queue | null"),
    ("pool: ~", "nothing (~)", "queue | null"),
    ("pool_size: 0", f"0, {UNLIMITED}", POOL_SIZE),
    ("pool_size: -0", f"0, {UNLIMITED}", POOL_SIZE),
    ("max_overflow: -1", f"-1, {UNLIMITED}", OVERFLOW),
    ("max_overflow: -2", "-2", OVERFLOW),
    ("max_overflow: null", "nothing (null)", OVERFLOW),
    *(
        (f"pool_size: {text}", text, POOL_SIZE)
        for text in ("-1", "1.5", "5.0", "true", "off", "1001", "99999999999999999999999")
    ),
    *(
        (f"pool_size: {text}", f"the text '{text}'", POOL_SIZE)
        for text in ("0x10", "1_000", "010", "1e9", "5 000", ".inf")
    ),
    ('pool_size: "10"', "the text '10'", POOL_SIZE),
    *((f"pool_timeout: {text}", text, TIMEOUT) for text in ("0", "-1", "2", "2.5", "off")),
    *(
        (f"pool_timeout: {text}", f"the text '{text}'", TIMEOUT)
        for text in (".inf", ".nan", "2:30", "0s", "99ms", "601s", "-1s", "2 s", "2S")
    ),
    ("workers: 0", "0", "a whole number from 1 to 256"),
    ("workers: 1000", "1000", "a whole number from 1 to 256"),
    ("workers: auto", "the text 'auto'", "a whole number from 1 to 256"),
    ("threads: null", "nothing (null)", POOL_SIZE),
    ("max_waiting: -1", "-1", "a whole number from 0 to 100000"),
    ("max_waiting: 100001", "100001", "a whole number from 0 to 100000"),
    *((f"echo: {text}", f"the text '{text}'", "on | off") for text in ("yes", "no", "True", "ON", "y")),
    ("echo: 1", "1", "on | off"),
    ("echo: null", "nothing (null)", "on | off"),
    ("description: 1.10", "1.10", "a text of up to 400 characters, without control characters"),
]


@pytest.mark.parametrize(("line", "found", "allowed"), WRONG, ids=[line for line, _, _ in WRONG])
def test_rejects_value(line: str, found: str, allowed: str, tmp_path: Path) -> None:
    """An invalid key or value is reported with file, line, column, key, what was found and what is allowed."""
    path = _file(tmp_path, f"# mine\n{line}\n")
    key = line.partition(":")[0]
    assert _load_error(path) == f"{path}:2:1: {key}: found {found}; allowed is {allowed}"


@pytest.mark.parametrize("text", [r'"\e[31mred"', r'"\ud800"', '"' + "x" * 401 + '"'])
def test_rejects_description(text: str, tmp_path: Path) -> None:
    """A description that is too long or contains unprintable characters is rejected with a printable message."""
    message = _load_error(_file(tmp_path, f"description: {text}\n"))
    assert "description: found the text" in message
    assert message.isprintable()
    assert len(message) < 300 + len(str(tmp_path))


COMBINATIONS = [
    ("threads: 4", "mine.yaml:1:1: threads: found 4 with the driver asyncpg; allowed is only with psycopg-sync"),
    ("driver: psycopg\nthreads: 4", "mine.yaml:2:1: threads: found 4 with the driver psycopg;"),
    ("driver: psycopg-sync\nthreads: 4\npool_size: 5", "mine.yaml:2:1: threads: found 4 with pool_size 5;"),
    (
        "pool: null\nbackpressure: 20\npool_pre_ping: on",
        "mine.yaml:3:1: pool_pre_ping: found on with pool: null; allowed is only with pool: queue",
    ),
    ("pool: null", "mine.yaml:1:1: backpressure: found nothing with pool: null; allowed is a number"),
    ("pool: null\ndriver: psycopg-sync", "mine.yaml:1:1: threads: found nothing with pool: null;"),
    (
        "driver: psycopg\nprepared_statements: on\nbehind_pooler: on",
        "mine.yaml:2:1: prepared_statements: found on with behind_pooler: on; allowed is off",
    ),
    (
        "behind_pooler: on\nisolation_level: AUTOCOMMIT",
        "mine.yaml:2:1: isolation_level: found AUTOCOMMIT with asyncpg and behind_pooler: on; allowed is READ",
    ),
    ("echo: on\nbehind_pooler: on", "mine.yaml:2:1: isolation_level: found AUTOCOMMIT with asyncpg and behind_pooler"),
]


@pytest.mark.parametrize(("text", "expected"), COMBINATIONS)
def test_rejects_combination(text: str, expected: str, tmp_path: Path) -> None:
    """Valid values that cannot work together are rejected at the place of the key to change."""
    assert f"{tmp_path}/{expected}" in _load_error(_file(tmp_path, text))


def test_reports_all_violations_at_once(tmp_path: Path) -> None:
    """One message lists nested, duplicate, unknown, invalid and conflicting keys of a file in order."""
    path = _file(
        tmp_path,
        "threads: 4\nechoo: on\npool_size: 0\nworkers: 1\nworkers: 2\ngc: [freeze]\nname: x\nloading: !x joined\n"
        "pool: null\nmax_overflow: 3\n",
    )
    lines = [line.removeprefix(f"{path}:").split(":")[0::2] for line in _load_error(path).splitlines()]
    assert [line[0] for line in lines] == ["1", "2", "3", "5", "6", "7", "8", "9", "10"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("pool: nul\npool_size: 5\n", 1),
        ("driver: psycop\nthreads: 4\n", 1),
        ("driver: psycopg-sync\nthreads: 4\npool_size: 0\n", 1),
        ("pool: null\nbackpressure: 0\n", 1),
        ("pool: null\n}\n", 1),
    ],
)
def test_no_consequential_violations(text: str, lines: int, tmp_path: Path) -> None:
    """A key that is invalid or unreadable is not reported again for a combination."""
    assert len(_load_error(_file(tmp_path, text)).splitlines()) == lines


OVERRIDES = [
    ("default@", "@: found no key=value; allowed is name@key=value,key=value"),
    ("default@pool_size", "pool_size: found no key=value;"),
    ("default@=5", "=5: found no key=value;"),
    ("default@pool_size=5,", "@: found no key=value;"),
    ("default@pool_size=5,pool_size=6", "pool_size: found the key a second time; allowed is each key once"),
    ("default@extends=asyncpg-json", "extends: found an override of it;"),
    ("default@name=x", "name: found an unknown key;"),
    ("default@pool_szie=5", "pool_szie: found an unknown key; allowed is pool_size (did you mean that?)"),
    ("default@pool_size=", f"pool_size: found nothing; allowed is {POOL_SIZE}"),
    ("default@pool_size=0", f"pool_size: found 0, {UNLIMITED}; allowed is {POOL_SIZE}"),
    ("default@pool_size=010", f"pool_size: found the text '010'; allowed is {POOL_SIZE}"),
    ("default@pool_size=5@echo=on", "pool_size: found the text '5@echo=on';"),
    ("default@threads=4", "threads: found 4 with the driver asyncpg; allowed is only with psycopg-sync"),
    ("default@pool=null", "backpressure: found nothing with pool: null;"),
]


@pytest.mark.parametrize(("spec", "expected"), OVERRIDES)
def test_rejects_override(spec: str, expected: str) -> None:
    """An invalid override is reported like an invalid key in a file, with the spec as its place."""
    assert _load_error(spec).startswith(f"{spec}: {expected}")


def test_reports_violations_of_file_and_overrides(tmp_path: Path) -> None:
    """One message lists the violations of the file and of the overrides."""
    path = _file(tmp_path, "echo: yes\n")
    message = _load_error(f"{path}@workers=0,x")
    assert len(message.splitlines()) == 3
    assert f"{path}:1:1: echo: " in message
    assert ": workers: found 0" in message


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("defualt", "profile: found 'defualt', which is not a profile; allowed is default (did you mean that?), or"),
        ("DEFAULT", "profile: found 'DEFAULT', which is not a profile; allowed is default (did you mean that?), or"),
        ("asyncpg_json", "profile: found 'asyncpg_json', which is not a profile; allowed is asyncpg-json (did"),
        ("", "profile: found '', which is not a profile; allowed is article-async, article-sync, "),
        ("..", "profile: found '..', which is not a profile;"),
        ("*", "profile: found '*', which is not a profile;"),
        ("-rf", "profile: found '-rf', which is not a profile;"),
        ("a\nb", r"profile: found 'a\nb', which is not a profile;"),
        ("\U0001f4da", "profile: found '\U0001f4da', which is not a profile;"),
        ("./My Profile.yaml", "profile: found the file name 'My Profile.yaml'; allowed is a name of up to 64"),
        ("./UPPER.yaml", "profile: found the file name 'UPPER.yaml';"),
        ("./$(id).yaml", "profile: found the file name '$(id).yaml';"),
        ("./" + "x" * 65 + ".yaml", "profile: found the file name 'xxx"),
        ("./..", "profile: found the file name '..';"),
        ("/", "profile: found the file name '';"),
        ("./nowhere.yaml", "nowhere.yaml: cannot be read: No such file or directory"),
        ("/dev/zero", "/dev/zero: found something other than a regular file;"),
        ("a\0b/c.yaml", r"a\x00b/c.yaml: not a valid file name"),
        ("~nobody-here/c.yaml", "profile: found '~nobody-here/c.yaml'; allowed is the home of an existing user"),
    ],
)
def test_rejects_name(spec: str, expected: str) -> None:
    """An unknown name is rejected with the nearest one, a path with the reason why it cannot be used."""
    assert _load_error(spec).startswith(expected)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be absolute or relative, and an @ in the name of a folder starts no overrides."""
    folder = tmp_path / "me@host"
    folder.mkdir()
    path = _file(folder, "workers: 3\n")
    monkeypatch.chdir(folder)
    for spec in (path, "mine.yaml", "./mine.yaml"):
        assert loader.load(spec).workers == 3
        overridden = loader.load(f"{spec}@workers=4,echo=on,pool_timeout=1.5s")
        assert (overridden.workers, overridden.echo, overridden.pool_timeout) == (4, True, 1.5)
        assert overridden.name == "mine@workers=4,echo=on,pool_timeout=1.5s"


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("default", "default"),
        ("default@isolation_level=READ COMMITTED", "default@isolation_level=READ-COMMITTED"),
        ("default@description=../../x y", "default"),
        ("default@echo=on,description=x", "default@echo=on"),
    ],
)
def test_a_label_is_a_file_name(spec: str, label: str) -> None:
    """A profile's label contains only characters that are safe in folder names and application_name."""
    assert loader.load(spec).name == label
    assert re.fullmatch(r"[A-Za-z0-9@=,._-]{1,200}", loader.load(spec).name)


def test_rejects_long_label(tmp_path: Path) -> None:
    """More overrides than fit into a file name are rejected with a way to solve it."""
    items = [f"{key}=on" for key in ("echo", "pool_pre_ping", "pool_use_lifo", "prepared_statements")]
    items += ["statement_timeout=5s", "pool_timeout=2s", "pool_recycle=30m", "isolation_level=REPEATABLE READ"]
    items += ["pool_size=100", "max_overflow=100", "workers=200"]
    assert "write a file that extends default" in _load_error(f"default@{','.join(items)}")


def test_extends(tmp_path: Path) -> None:
    """Keys are inherited along a chain of profiles, nearer ones win, and descriptions are not inherited."""
    _file(tmp_path, "description: the first\nworkers: 2\npool_size: 7\nloading: lazy\n", "first.yaml")
    _file(tmp_path, "description: the second\nextends: first.yaml\npool_size: 8\n", "second.yaml")
    third = loader.load(_file(tmp_path, "extends: ./second.yaml@echo=on\nloading: rows\n", "third.yaml") + "@workers=4")
    assert (third.workers, third.pool_size, third.loading, third.echo) == (4, 8, "rows", True)
    assert third.description == ""
    assert third.name == "third@workers=4"


def test_extends_shipped_profile(tmp_path: Path) -> None:
    """A file can extend a shipped profile by name."""
    path = _file(tmp_path, "extends: article-sync\nthreads: 15\ndescription: mine\n")
    assert loader.load(path) == msgspec.structs.replace(
        loader.load("article-sync"), name="mine", threads=15, description="mine"
    )


EXTENDS = [
    ("extends: nowhere.yaml", "nowhere.yaml: cannot be read: No such file"),
    ("extends: defualt", "mine.yaml:1:1: extends: found 'defualt', which is not a profile; allowed is default (did"),
    ("extends:", "mine.yaml:1:1: extends: found '', which is not a profile;"),
    ("extends: 5", "mine.yaml:1:1: extends: found '5', which is not a profile;"),
    ("extends: [default]", "mine.yaml:1:1: extends: found a list;"),
    ("extends: mine.yaml", "mine.yaml:1:1: extends: found a circle: mine -> mine;"),
    ("extends: ../{folder}/mine.yaml", "mine.yaml:1:1: extends: found a circle: mine -> mine;"),
    ("extends: other.yaml", "extends: found a circle: mine -> other -> mine;"),
    ("extends: link.yaml", "mine.yaml:1:1: extends: found a circle: mine -> link;"),
    ("extends: looped.yaml", "looped.yaml: cannot be read: "),
    ('extends: "a\\0b/c.yaml"', "not a valid file name"),
]


@pytest.mark.parametrize(("text", "expected"), EXTENDS)
def test_rejects_parent(text: str, expected: str, tmp_path: Path) -> None:
    """A missing, unreadable or circular parent is rejected, together with the child's own violations."""
    _file(tmp_path, "extends: ./mine.yaml\n", "other.yaml")
    (tmp_path / "link.yaml").symlink_to("mine.yaml")
    (tmp_path / "looped.yaml").symlink_to("looped.yaml")
    path = _file(tmp_path, text.format(folder=tmp_path.name) + "\nworkers: 0\n")
    message = _load_error(path)
    assert expected in message
    assert f"{path}:2:1: workers: found 0" in message


def test_inherited_violation(tmp_path: Path) -> None:
    """An inherited violation is reported at its place in the parent's file, beside the child's own."""
    parent = _file(tmp_path, "echo: off\nworkers: 0\n", "parent.yaml")
    child = _file(tmp_path, "extends: parent.yaml\ngc: x\n", "child.yaml")
    message = _load_error(child)
    assert f"{parent}:2:1: workers: found 0;" in message
    assert f"{child}:2:1: gc: found the text 'x';" in message


def test_meaningless_keys_are_not_inherited() -> None:
    """A nearer driver or pool drops the farther profile's settings for threads or pool."""
    assert loader.load("article-sync@driver=asyncpg").threads is None
    without_pool = rendering.effective_values(loader.load("article-sync@pool=null"))
    assert without_pool["threads"] == "40"
    assert not [key for key in without_pool if key.startswith("pool_")]


@pytest.mark.parametrize("spec", ["psycopg-joined@behind_pooler=on", "asyncpg-pgbouncer"])
def test_nothing_is_prepared_behind_a_pooler(spec: str) -> None:
    """Behind a pooler no statement is prepared; the effective profile shows it and loads back as the same profile."""
    assert rendering.effective_values(loader.load(spec))["prepared_statements"] == "off"


def test_prepared_statements_are_not_inherited_behind_a_pooler() -> None:
    """prepared_statements from `default` is not inherited behind a pooler, and applies again without one."""
    assert not loader.load("default@driver=psycopg,behind_pooler=on").prepared_statements
    assert loader.load("psycopg-pgbouncer@behind_pooler=off").prepared_statements


def test_fills_in_threads() -> None:
    """A sync profile without threads has one per connection, an async profile has none."""
    assert loader.load("psycopg-sync-joined@max_overflow=3").threads == 8
    assert loader.load("default").threads is None


def test_more_threads_than_connections() -> None:
    """The article's trap can be configured: 40 threads for 15 connections."""
    loaded = loader.load("article-sync")
    assert (loaded.threads, loaded.connections_per_worker, loaded.pool_timeout) == (40, 15, 30.0)


@pytest.mark.parametrize(
    ("spec", "at_once"),
    [
        ("default", 5),
        ("default@max_overflow=2", 7),
        ("article-sync", 15),
        ("article-sync@threads=7", 7),
        ("default@pool=null,backpressure=20", 20),
        ("psycopg-sync-lazy@pool=null,threads=3", 3),
    ],
)
def test_units_at_once(spec: str, at_once: int) -> None:
    """The number of units of work with a connection is limited by connections and by threads."""
    assert loader.load(spec).units_at_once == at_once


def test_article_profiles_shed_nothing() -> None:
    """More requests may wait than backpressure admits, because the article's service had no such limit."""
    for name in ("article-async", "article-sync"):
        loaded = loader.load(name)
        assert loaded.max_waiting > loaded.backpressure


def test_workers_from_environment() -> None:
    """A number of workers from the environment overrides the profile's."""
    loaded = loader.load("default@workers=2")
    assert loader.with_workers(loaded, 3).workers == 3
    assert loader.with_workers(loaded, None) == loaded


@st.composite
def profiles(draw: st.DrawFn) -> EngineProfile:
    """Any profile that a file can contain."""
    driver = draw(st.sampled_from(["asyncpg", "psycopg", "psycopg-sync"]))
    pool = draw(st.sampled_from(["queue", "null"]))
    values: dict[str, Any] = {
        "description": draw(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=400)),
        "driver": driver,
        "pool": pool,
        "statement_timeout": draw(st.floats(0.1, 3600)),
        "echo": draw(st.booleans()),
        "workers": draw(st.integers(1, 256)),
        "max_waiting": draw(st.integers(0, 100_000)),
        "backpressure": draw(st.integers(1, 65535)),
        "isolation_level": draw(st.sampled_from(["AUTOCOMMIT", "READ COMMITTED", "SERIALIZABLE"])),
    }
    if pool == "queue":
        values["pool_size"] = draw(st.integers(1, 1000))
        values["max_overflow"] = draw(st.integers(0, 1000))
        values["pool_timeout"] = draw(st.floats(0.1, 600))
        values["pool_recycle"] = draw(st.floats(1, 86400))
    if driver == "psycopg-sync":
        values["threads"] = draw(st.integers(values.get("pool_size", 1), 1000))
    return msgspec.convert({"name": "some", **values}, EngineProfile)


@settings(deadline=None)  # a busy machine must not fail the test
@given(profiles())
def test_yaml_loads_back(tmp_path_factory: pytest.TempPathFactory, some: EngineProfile) -> None:
    """The output of `show` is a profile that loads back as the same one and matches the schema."""
    text = rendering.to_yaml(some)
    assert loader.load(_file(tmp_path_factory.getbasetemp(), text, "some.yaml")) == some
    jsonschema.validate(yaml.safe_load(text), json_schema.schema())


@settings(deadline=None)  # a busy machine must not fail the test
@given(st.text(max_size=80))
def test_any_spec_is_handled(spec: str) -> None:
    """Any spec gives a profile or a printable ConfigurationError."""
    for tried in (spec, f"default@{spec}", f"./{spec}", f"default@pool_size={spec}"):
        try:
            loader.load(tried)
        except ConfigurationError as error:
            str(error).encode()


LINES = st.tuples(
    st.sampled_from([*engine_profile.KEYS, "extends", "name", "Pool-Size", "?", ""]),
    st.sampled_from(
        ["null", "on", "5", "0", "-1", "2s", "1e9", "psycopg-sync", "default", "[", "*a", "!x y", "'", "a: b"]
    ),
)


@settings(deadline=None)  # a busy machine must not fail the test
@given(st.lists(LINES, max_size=8))
def test_any_file_is_handled(tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]]) -> None:
    """Any file gives a profile or a printable ConfigurationError."""
    text = "\n".join(f"{key}: {value}" for key, value in lines)
    try:
        loader.load(_file(tmp_path_factory.getbasetemp(), text))
    except ConfigurationError as error:
        str(error).encode()


def test_every_key_has_a_description() -> None:
    """Each key of EngineProfile has a description, and the schema repeats it with the default."""
    for key in engine_profile.KEYS:
        assert re.fullmatch(r"[A-Za-z].{20,}\.", json_schema.meaning(key), re.DOTALL), key
        assert json_schema.default(key) in json_schema.schema()["properties"][key]["description"]


def test_schema_and_loader_know_the_same_keys() -> None:
    """The schema has exactly the loader's keys."""
    schema = json_schema.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"].keys() == {*engine_profile.KEYS, "extends"}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", layers.names())
def test_shipped_profiles(name: str) -> None:
    """Each shipped profile loads, has a description, refers to the schema and matches it."""
    path = shipped("profiles") / f"{name}.yaml"
    assert loader.load(name).description
    assert path.read_text().startswith("# yaml-language-server: $schema=profile.schema.json\n")
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema.schema())


@pytest.mark.parametrize(
    "text", ["pool_size: 0", "max_overflow: -1", "pool_timeout: 2", "echo: maybe", "driver: x", "name: x", "gc:"]
)
def test_schema_rejects(text: str) -> None:
    """The schema marks values in the editor that the loader rejects."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), json_schema.schema())


def test_profiles_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile in BOOKSTORE_PROFILES_DIR has a name like shipped ones and overrides one of the same name, also for
    profiles that extend it."""
    _file(tmp_path, "extends: default\npool_size: 7\n", "ours.yaml")
    _file(tmp_path, "driver: asyncpg\nloading: json\npool_size: 9\n", "asyncpg-json.yaml")
    _file(tmp_path, "extends: asyncpg-json\n", "child.yaml")
    shipped_names = layers.names()
    assert "ours" not in shipped_names
    monkeypatch.setenv("BOOKSTORE_PROFILES_DIR", f"{tmp_path}\n")
    assert layers.names() == sorted({*shipped_names, "ours", "child"})
    assert loader.load("ours@workers=2").pool_size == 7
    assert loader.load("asyncpg-json").pool_size == loader.load("child").pool_size == 9
    assert _load_error("our").startswith("profile: found 'our', which is not a profile; allowed is ours (did you mean")


def test_missing_profiles_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If BOOKSTORE_PROFILES_DIR is not a folder every profile is rejected, because the folder might contain it."""
    monkeypatch.setenv("BOOKSTORE_PROFILES_DIR", str(tmp_path / "gone"))
    assert _load_error("default") == (
        f"BOOKSTORE_PROFILES_DIR: found '{tmp_path}/gone'; allowed is a readable folder, or nothing"
    )
