from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from bookstore.config.resources import shipped
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload import json_schema
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload


def test_schema_file_is_up_to_date() -> None:
    """The schema file next to the workloads equals the output of `bookstore workloads schema`."""
    file = shipped("workloads") / "workload.schema.json"
    assert json.loads(file.read_text()) == json_schema.schema()


def test_every_key_has_a_meaning() -> None:
    """Every field of a workload, a request and a stage has a description, and there are no others."""
    assert set(json_schema.MEANINGS) - set(workload_file.SHORTHAND_KEYS) == set(Workload.__struct_fields__) - {"name"}
    assert set(json_schema.REQUEST_MEANINGS) == set(RequestSpec.__struct_fields__)
    assert set(json_schema.STAGE_MEANINGS) == set(Stage.__struct_fields__)


@pytest.mark.parametrize("name", workload_file.names())
def test_shipped_workloads_fit(name: str) -> None:
    """Every shipped workload validates against the schema."""
    text = (shipped("workloads") / f"{name}.yaml").read_text()
    jsonschema.validate(yaml.safe_load(text), json_schema.schema())


@pytest.mark.parametrize(
    "workload",
    [
        {},
        {"path": "/books", "requests": [{"path": "/books"}]},
        {"requests": []},
        {"requests": [{"method": "GET"}]},
        {"requests": [{"path": "/books", "wieght": 1}]},
        {"path": "/books", "duration": 5},
        {"path": "/books", "keys": "normal"},
        {"path": "/books", "stages": [{"duration": "1s"}]},
        {"path": "/books", "rate": 0},
    ],
)
def test_wrong_workloads_are_rejected(workload: dict[str, Any]) -> None:
    """The schema rejects what the loader rejects."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(workload, json_schema.schema())
