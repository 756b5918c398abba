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


def test_kept_schema_is_up_to_date() -> None:
    """The schema beside the workloads is what `bookstore workloads schema` prints."""
    kept = shipped("workloads") / "workload.schema.json"
    assert json.loads(kept.read_text()) == json_schema.schema()


def test_every_key_has_a_meaning() -> None:
    """Each field of a workload, a request and a stage is explained, and nothing else is."""
    assert set(json_schema.MEANINGS) - set(workload_file.SHORTHAND_KEYS) == set(Workload.__struct_fields__) - {"name"}
    assert set(json_schema.REQUEST_MEANINGS) == set(RequestSpec.__struct_fields__)
    assert set(json_schema.STAGE_MEANINGS) == set(Stage.__struct_fields__)


@pytest.mark.parametrize("name", workload_file.names())
def test_shipped_workloads_fit(name: str) -> None:
    """Each shipped workload fits the schema."""
    text = (shipped("workloads") / f"{name}.yaml").read_text()
    jsonschema.validate(yaml.safe_load(text), json_schema.schema())


@pytest.mark.parametrize(
    "wrong",
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
def test_wrong_ones_do_not(wrong: dict[str, Any]) -> None:
    """What a file may not say, the schema does not allow either."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json_schema.schema())
