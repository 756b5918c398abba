"""docs/configuration.md is held against the code, both ways."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bookstore.cli.reference import ENVIRONMENT
from bookstore.config import settings
from bookstore.doctor import FORMAT_VERSION, Examination, configuration
from bookstore.doctor.finding import LEVELS, Finding
from bookstore.observability import tracing

GUIDE = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
VARIABLES = {name for names in ENVIRONMENT for name in re.findall(r"\b[A-Z][A-Z0-9_]*[A-Z0-9]\b", names)}
EXAMPLES = dict(
    line.partition("=")[::2]
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
)


def test_every_variable_is_told() -> None:
    """Each variable that is read, or stands in the reference, has its place in the guide."""
    told = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", GUIDE))
    assert VARIABLES | set(configuration.variables()) <= told


def test_no_other_variable_is_told() -> None:
    """The guide tells of no variable that nothing reads, but of one that is ignored."""
    names = set(re.findall(r"\b(?:BOOKSTORE|DATABASE|WEB|GRANIAN|LITESTAR|OTEL|PG)_?[A-Z0-9_]*[A-Z0-9]\b", GUIDE))
    others = names - VARIABLES - {"PG", "GRANIAN"}
    assert settings.interfering(dict.fromkeys(others, "x")) == sorted(others)


def test_the_examples_are_right() -> None:
    """Each variable has an example, with which the service would start; tokens are told as a file."""
    assert configuration.variables()
    assert set(configuration.variables()) - {"BOOKSTORE_API_TOKENS"} <= EXAMPLES.keys()
    assert tracing.is_enabled(EXAMPLES)
    found = settings.read(EXAMPLES)
    assert configuration.load_profile(found).workers == int(EXAMPLES["WEB_CONCURRENCY"])
    values = configuration.setting_values(found, EXAMPLES, {})
    assert [one.name for one in values if one.origin == "default"] == ["BOOKSTORE_API_TOKENS"]
    assert configuration.NOT_SHOWN not in {one.value for one in values}


def test_the_json_is_as_told() -> None:
    """The example of doctor's JSON has the members that there are, and the levels are those that there are."""
    [block] = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    told = json.loads(block)
    assert tuple(told) == Examination.__struct_fields__
    assert told["version"] == FORMAT_VERSION
    assert tuple(told["findings"][0]) == Finding.__struct_fields__
    assert tuple(told["configuration"][0]) == configuration.Value.__struct_fields__
    assert re.findall(r"^\| `(\w+)` \| .* \| [02] \|$", GUIDE, re.MULTILINE) == list(LEVELS)
