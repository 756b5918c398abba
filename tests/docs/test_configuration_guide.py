"""docs/configuration.md and the code agree in both directions."""

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


def test_every_variable_is_documented() -> None:
    """The guide has every variable that is read or is in the reference."""
    documented = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", GUIDE))
    assert VARIABLES | set(configuration.variables()) <= documented


def test_no_unknown_variable_is_documented() -> None:
    """Every variable in the guide is read or is one that the service ignores."""
    names = set(re.findall(r"\b(?:BOOKSTORE|DATABASE|WEB|GRANIAN|LITESTAR|OTEL|PG)_?[A-Z0-9_]*[A-Z0-9]\b", GUIDE))
    others = names - VARIABLES - {"PG", "GRANIAN"}
    assert settings.interfering_variables(dict.fromkeys(others, "x")) == sorted(others)


def test_examples() -> None:
    """Every variable has a valid example, except the tokens, whose example is a file."""
    assert configuration.variables()
    assert set(configuration.variables()) - {"BOOKSTORE_API_TOKENS"} <= EXAMPLES.keys()
    assert tracing.is_enabled(EXAMPLES)
    example_settings = settings.read(EXAMPLES)
    assert configuration.load_profile(example_settings).workers == int(EXAMPLES["WEB_CONCURRENCY"])
    values = configuration.setting_values(example_settings, EXAMPLES, {})
    assert [value.name for value in values if value.origin == "default"] == ["BOOKSTORE_API_TOKENS"]
    assert configuration.NOT_SHOWN not in {value.value for value in values}


def test_json_of_doctor() -> None:
    """The example of doctor's JSON has all members, and the table has all levels."""
    [block] = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    example = json.loads(block)
    assert tuple(example) == Examination.__struct_fields__
    assert example["version"] == FORMAT_VERSION
    assert tuple(example["findings"][0]) == Finding.__struct_fields__
    assert tuple(example["configuration"][0]) == configuration.Value.__struct_fields__
    assert re.findall(r"^\| `(\w+)` \| .* \| [02] \|$", GUIDE, re.MULTILINE) == list(LEVELS)
