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


def _refusal(spec: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        loader.load(spec)
    return str(refused.value)


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
def test_refuses_a_value(line: str, found: str, allowed: str, tmp_path: Path) -> None:
    """A wrong key or value is told with file, line, column, key, what was found and what is allowed."""
    path = _file(tmp_path, f"# mine\n{line}\n")
    key = line.partition(":")[0]
    assert _refusal(path) == f"{path}:2:1: {key}: found {found}; allowed is {allowed}"


@pytest.mark.parametrize("text", [r'"\e[31mred"', r'"\ud800"', '"' + "x" * 401 + '"'])
def test_refuses_a_description(text: str, tmp_path: Path) -> None:
    """A description that steers a terminal, cannot be printed or is a novel is refused, printably."""
    told = _refusal(_file(tmp_path, f"description: {text}\n"))
    assert "description: found the text" in told
    assert told.isprintable()
    assert len(told) < 300 + len(str(tmp_path))


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


@pytest.mark.parametrize(("text", "told"), COMBINATIONS)
def test_refuses_a_combination(text: str, told: str, tmp_path: Path) -> None:
    """Keys that are right alone and cannot work together are refused at the place of the one to change."""
    assert f"{tmp_path}/{told}" in _refusal(_file(tmp_path, text))


def test_tells_all_mistakes_at_once(tmp_path: Path) -> None:
    """Nested, doubled, unknown, wrong and contradicting keys of a file come in one message, in their order."""
    path = _file(
        tmp_path,
        "threads: 4\nechoo: on\npool_size: 0\nworkers: 1\nworkers: 2\ngc: [freeze]\nname: x\nloading: !x joined\n"
        "pool: null\nmax_overflow: 3\n",
    )
    lines = [line.removeprefix(f"{path}:").split(":")[0::2] for line in _refusal(path).splitlines()]
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
def test_no_mistake_breeds_another(text: str, lines: int, tmp_path: Path) -> None:
    """What is wrong alone, or could not be read, is not blamed a second time for a combination."""
    assert len(_refusal(_file(tmp_path, text)).splitlines()) == lines


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


@pytest.mark.parametrize(("spec", "told"), OVERRIDES)
def test_refuses_an_override(spec: str, told: str) -> None:
    """A wrong override is told like a wrong key of a file, the profile as it was named being its place."""
    assert _refusal(spec).startswith(f"{spec}: {told}")


def test_tells_the_mistakes_of_overrides_with_those_of_the_file(tmp_path: Path) -> None:
    """File and overrides are judged together: one message has the mistakes of both."""
    path = _file(tmp_path, "echo: yes\n")
    told = _refusal(f"{path}@workers=0,x")
    assert len(told.splitlines()) == 3
    assert f"{path}:1:1: echo: " in told
    assert ": workers: found 0" in told


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("defualt", "profile: found 'defualt', which is no profile; allowed is default (did you mean that?), or"),
        ("DEFAULT", "profile: found 'DEFAULT', which is no profile; allowed is default (did you mean that?), or"),
        ("asyncpg_json", "profile: found 'asyncpg_json', which is no profile; allowed is asyncpg-json (did"),
        ("", "profile: found '', which is no profile; allowed is article-async, article-sync, "),
        ("..", "profile: found '..', which is no profile;"),
        ("*", "profile: found '*', which is no profile;"),
        ("-rf", "profile: found '-rf', which is no profile;"),
        ("a\nb", r"profile: found 'a\nb', which is no profile;"),
        ("\U0001f4da", "profile: found '\U0001f4da', which is no profile;"),
        ("./My Profile.yaml", "profile: found the file name 'My Profile.yaml'; allowed is a name of up to 64"),
        ("./UPPER.yaml", "profile: found the file name 'UPPER.yaml';"),
        ("./$(id).yaml", "profile: found the file name '$(id).yaml';"),
        ("./" + "x" * 65 + ".yaml", "profile: found the file name 'xxx"),
        ("./..", "profile: found the file name '..';"),
        ("/", "profile: found the file name '';"),
        ("./nowhere.yaml", "nowhere.yaml: cannot be read: No such file or directory"),
        ("/dev/zero", "/dev/zero: found something that is no regular file;"),
        ("a\0b/c.yaml", r"a\x00b/c.yaml: no file can have this name"),
        ("~nobody-here/c.yaml", "profile: found '~nobody-here/c.yaml'; allowed is the home of a user who exists"),
    ],
)
def test_refuses_a_name(spec: str, told: str) -> None:
    """A name without a profile is refused with the near one, a path with what is wrong about it."""
    assert _refusal(spec).startswith(told)


def test_a_path_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile is named by path, absolute or from here, an @ in a folder's name being no override."""
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
    """A profile's label holds nothing that a folder or application_name could stumble over."""
    assert loader.load(spec).name == label
    assert re.fullmatch(r"[A-Za-z0-9@=,._-]{1,200}", loader.load(spec).name)


def test_refuses_too_long_a_label(tmp_path: Path) -> None:
    """More overrides than a file name can carry are refused with the way out."""
    items = [f"{key}=on" for key in ("echo", "pool_pre_ping", "pool_use_lifo", "prepared_statements")]
    items += ["statement_timeout=5s", "pool_timeout=2s", "pool_recycle=30m", "isolation_level=REPEATABLE READ"]
    items += ["pool_size=100", "max_overflow=100", "workers=200"]
    assert "write a file that extends default" in _refusal(f"default@{','.join(items)}")


def test_extends(tmp_path: Path) -> None:
    """A chain of profiles hands keys down, nearer ones winning, descriptions staying where they are."""
    _file(tmp_path, "description: the first\nworkers: 2\npool_size: 7\nloading: lazy\n", "first.yaml")
    _file(tmp_path, "description: the second\nextends: first.yaml\npool_size: 8\n", "second.yaml")
    third = loader.load(_file(tmp_path, "extends: ./second.yaml@echo=on\nloading: rows\n", "third.yaml") + "@workers=4")
    assert (third.workers, third.pool_size, third.loading, third.echo) == (4, 8, "rows", True)
    assert third.description == ""
    assert third.name == "third@workers=4"


def test_extends_a_shipped_one(tmp_path: Path) -> None:
    """A file may extend a shipped profile by its name."""
    path = _file(tmp_path, "extends: article-sync\nthreads: 15\ndescription: mine\n")
    assert loader.load(path) == msgspec.structs.replace(
        loader.load("article-sync"), name="mine", threads=15, description="mine"
    )


EXTENDS = [
    ("extends: nowhere.yaml", "nowhere.yaml: cannot be read: No such file"),
    ("extends: defualt", "mine.yaml:1:1: extends: found 'defualt', which is no profile; allowed is default (did"),
    ("extends:", "mine.yaml:1:1: extends: found '', which is no profile;"),
    ("extends: 5", "mine.yaml:1:1: extends: found '5', which is no profile;"),
    ("extends: [default]", "mine.yaml:1:1: extends: found a list;"),
    ("extends: mine.yaml", "mine.yaml:1:1: extends: found a circle: mine -> mine;"),
    ("extends: ../{folder}/mine.yaml", "mine.yaml:1:1: extends: found a circle: mine -> mine;"),
    ("extends: other.yaml", "extends: found a circle: mine -> other -> mine;"),
    ("extends: link.yaml", "mine.yaml:1:1: extends: found a circle: mine -> link;"),
    ("extends: looped.yaml", "looped.yaml: cannot be read: "),
    ('extends: "a\\0b/c.yaml"', "no file can have this name"),
]


@pytest.mark.parametrize(("text", "told"), EXTENDS)
def test_refuses_a_parent(text: str, told: str, tmp_path: Path) -> None:
    """A parent that is missing, unreadable or a child is refused, with the child's own mistakes."""
    _file(tmp_path, "extends: ./mine.yaml\n", "other.yaml")
    (tmp_path / "link.yaml").symlink_to("mine.yaml")
    (tmp_path / "looped.yaml").symlink_to("looped.yaml")
    path = _file(tmp_path, text.format(folder=tmp_path.name) + "\nworkers: 0\n")
    refusal = _refusal(path)
    assert told in refusal
    assert f"{path}:2:1: workers: found 0" in refusal


def test_a_mistake_is_told_where_it_stands(tmp_path: Path) -> None:
    """An inherited mistake is told at its place in the parent's file, beside the child's own."""
    parent = _file(tmp_path, "echo: off\nworkers: 0\n", "parent.yaml")
    child = _file(tmp_path, "extends: parent.yaml\ngc: x\n", "child.yaml")
    told = _refusal(child)
    assert f"{parent}:2:1: workers: found 0;" in told
    assert f"{child}:2:1: gc: found the text 'x';" in told


def test_what_loses_its_meaning_is_not_inherited() -> None:
    """A nearer driver or pool takes away what the farther profile said of threads or of the pool."""
    assert loader.load("article-sync@driver=asyncpg").threads is None
    without_pool = rendering.effective(loader.load("article-sync@pool=null"))
    assert without_pool["threads"] == "40"
    assert not [key for key in without_pool if key.startswith("pool_")]


@pytest.mark.parametrize("spec", ["psycopg-joined@behind_pooler=on", "asyncpg-pgbouncer"])
def test_nothing_is_prepared_behind_a_pooler(spec: str) -> None:
    """Behind a pooler no statement is prepared, and the effective profile, which loads back the same, says so."""
    assert rendering.effective(loader.load(spec))["prepared_statements"] == "off"


def test_a_pooler_takes_away_what_the_farther_profile_prepared() -> None:
    """`default` says prepared_statements: on; behind a pooler that is not inherited, and back before it is on again."""
    assert not loader.load("default@driver=psycopg,behind_pooler=on").prepared_statements
    assert loader.load("psycopg-pgbouncer@behind_pooler=off").prepared_statements


def test_fills_in_threads() -> None:
    """A sync profile that names no threads has one for each connection, an async one has none."""
    assert loader.load("psycopg-sync-joined@max_overflow=3").threads == 8
    assert loader.load("default").threads is None


def test_more_threads_than_connections() -> None:
    """The article's trap can be set: 40 threads before 15 connections."""
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
    """So many units of work can have a connection at once: as many as there are, and no more than threads."""
    assert loader.load(spec).units_at_once == at_once


def test_the_article_refuses_nobody() -> None:
    """More requests may wait than backpressure lets in: the article's service had no such limit."""
    for name in ("article-async", "article-sync"):
        loaded = loader.load(name)
        assert loaded.max_waiting > loaded.backpressure


def test_workers_from_outside() -> None:
    """A number of workers from the environment goes over the profile's, none leaves it."""
    loaded = loader.load("default@workers=2")
    assert loader.with_workers(loaded, 3).workers == 3
    assert loader.with_workers(loaded, None) == loaded


@st.composite
def profiles(draw: st.DrawFn) -> EngineProfile:
    """Any profile that a file could say."""
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


@settings(deadline=None)  # other work on the machine is no failure
@given(profiles())
def test_yaml_loads_back(tmp_path_factory: pytest.TempPathFactory, some: EngineProfile) -> None:
    """What `show` prints is a profile that loads back as the same one, and fits the schema."""
    text = rendering.to_yaml(some)
    assert loader.load(_file(tmp_path_factory.getbasetemp(), text, "some.yaml")) == some
    jsonschema.validate(yaml.safe_load(text), json_schema.schema())


@settings(deadline=None)  # other work on the machine is no failure
@given(st.text(max_size=80))
def test_no_spec_raises_anything_but_refused(spec: str) -> None:
    """Whatever a profile is called, the answer is a profile or a ConfigurationError that can be printed."""
    for tried in (spec, f"default@{spec}", f"./{spec}", f"default@pool_size={spec}"):
        try:
            loader.load(tried)
        except ConfigurationError as refused:
            str(refused).encode()


LINES = st.tuples(
    st.sampled_from([*engine_profile.KEYS, "extends", "name", "Pool-Size", "?", ""]),
    st.sampled_from(
        ["null", "on", "5", "0", "-1", "2s", "1e9", "psycopg-sync", "default", "[", "*a", "!x y", "'", "a: b"]
    ),
)


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(LINES, max_size=8))
def test_no_file_raises_anything_but_refused(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]]
) -> None:
    """Whatever stands in a file, the answer is a profile or a ConfigurationError that can be printed."""
    text = "\n".join(f"{key}: {value}" for key, value in lines)
    try:
        loader.load(_file(tmp_path_factory.getbasetemp(), text))
    except ConfigurationError as refused:
        str(refused).encode()


def test_every_key_has_a_meaning() -> None:
    """Each key of EngineProfile says in a sentence what it does; the schema repeats it with its default."""
    for key in engine_profile.KEYS:
        assert re.fullmatch(r"[A-Za-z].{20,}\.", json_schema.meaning(key), re.DOTALL), key
        assert json_schema.default(key) in json_schema.schema()["properties"][key]["description"]


def test_schema_and_loader_know_the_same_keys() -> None:
    """The schema has the loader's keys and no other."""
    schema = json_schema.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"].keys() == {*engine_profile.KEYS, "extends"}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", layers.names())
def test_shipped_profiles(name: str) -> None:
    """Each shipped profile loads, describes itself, points at the schema and fits it."""
    path = shipped("profiles") / f"{name}.yaml"
    assert loader.load(name).description
    assert path.read_text().startswith("# yaml-language-server: $schema=profile.schema.json\n")
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema.schema())


@pytest.mark.parametrize(
    "text", ["pool_size: 0", "max_overflow: -1", "pool_timeout: 2", "echo: maybe", "driver: x", "name: x", "gc:"]
)
def test_schema_refuses(text: str) -> None:
    """The schema marks in the editor what the loader would refuse."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), json_schema.schema())


def test_profiles_of_the_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile in BOOKSTORE_PROFILES_DIR has a name as the shipped ones do, and goes over one of the same name,
    for those that extend it too."""
    _file(tmp_path, "extends: default\npool_size: 7\n", "ours.yaml")
    _file(tmp_path, "driver: asyncpg\nloading: json\npool_size: 9\n", "asyncpg-json.yaml")
    _file(tmp_path, "extends: asyncpg-json\n", "child.yaml")
    shipped_ones = layers.names()
    assert "ours" not in shipped_ones
    monkeypatch.setenv("BOOKSTORE_PROFILES_DIR", f"{tmp_path}\n")
    assert layers.names() == sorted({*shipped_ones, "ours", "child"})
    assert loader.load("ours@workers=2").pool_size == 7
    assert loader.load("asyncpg-json").pool_size == loader.load("child").pool_size == 9
    assert _refusal("our").startswith("profile: found 'our', which is no profile; allowed is ours (did you mean")


def test_profiles_of_the_operator_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A BOOKSTORE_PROFILES_DIR that is no folder is refused for every profile: the one meant may lie in it."""
    monkeypatch.setenv("BOOKSTORE_PROFILES_DIR", str(tmp_path / "gone"))
    assert _refusal("default") == (
        f"BOOKSTORE_PROFILES_DIR: found '{tmp_path}/gone'; allowed is a folder that can be read, or nothing"
    )
