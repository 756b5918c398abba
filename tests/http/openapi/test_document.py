"""The OpenAPI document: valid, complete and accurate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator
from litestar import Litestar, post
from litestar.routes import HTTPRoute
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from bookstore.app import make_app
from bookstore.database.unit_of_work import make_database
from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http import authorization
from bookstore.http.openapi.document import document
from bookstore.http.openapi.examples import EXAMPLES
from bookstore.http.openapi.operations import ETAG, LOCATION, body, config, problems
from bookstore.http.problem_details import PROBLEM_JSON
from bookstore.profile.engine_profile import EngineProfile

NOWHERE = sa.make_url("postgresql://")


@pytest.fixture(scope="module")
def app() -> Litestar:
    """The service, which is not started and so needs no database."""
    return make_app(make_database(EngineProfile(name="test", driver="asyncpg", gc="default"), NOWHERE))


@pytest.fixture(scope="module")
def spec(app: Litestar) -> dict[str, Any]:
    return json.loads(json.dumps(document(app)))  # type: ignore[no-any-return]


def operations(spec: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (path, method.upper()): operation for path, item in spec["paths"].items() for method, operation in item.items()
    }


def test_valid(spec: dict[str, Any]) -> None:
    """The document is valid OpenAPI 3.1, and all references resolve."""
    assert spec["openapi"].startswith("3.1.")
    assert list(OPENAPI_31_VALIDATOR.iter_errors(spec)) == []
    for reference in references(spec):
        target = spec
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [reference for value in node.values() for reference in references(value)]
    return [reference for value in node for reference in references(value)] if isinstance(node, list) else []


def test_every_route_is_described(app: Litestar, spec: dict[str, Any]) -> None:
    """The document has exactly the served operations, except for its own page."""
    served = {
        (route.path_format, method)
        for route in app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith("/schema")
        for method in route.methods
        if method != "OPTIONS"
    }
    assert operations(spec).keys() == served


def test_every_operation_has_descriptions(spec: dict[str, Any]) -> None:
    """Each operation has a unique id, a summary, a description and only tags with a description."""
    every = operations(spec).values()
    assert len({operation["operationId"] for operation in every}) == len(every)
    described = {tag["name"] for tag in spec["tags"] if tag["description"]}
    for operation in every:
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"]
        assert set(operation["tags"]) <= described


def test_every_error_is_a_problem(spec: dict[str, Any]) -> None:
    """Each operation lists the errors that every route can return, as problems with their headers."""
    shared = spec["components"]["responses"]
    for operation in operations(spec).values():
        responses = operation["responses"]
        assert {"400", "414", "429", "500", "503"} <= responses.keys()
        for status, response in responses.items():
            if int(status) >= 400:
                resolved = shared[response["$ref"].split("/")[-1]] if "$ref" in response else response
                codes = resolved["content"][PROBLEM_JSON]["examples"]
                assert all(PROBLEM_TYPES[code].status == int(status) for code in codes)
                assert ("Retry-After" in resolved.get("headers", {})) is (status in {"429", "503"})
    examples = spec["components"]["examples"]
    assert examples.keys() == PROBLEM_TYPES.keys()
    assert all(example["value"]["code"] == code for code, example in examples.items())


def test_scopes(app: Litestar, spec: dict[str, Any]) -> None:
    """Reading requires no token, but rejects a wrong one; an operation that requires one names its scope."""
    for (_, method), operation in operations(spec).items():
        (scopes,) = [requirement["token"] for requirement in operation["security"]] or [[]]
        assert (method == "GET") is (scopes == [])
        assert "401" in operation["responses"]
        assert ("403" in operation["responses"]) is (scopes != [])


def test_integer_limits(spec: dict[str, Any]) -> None:
    """The largest id is exact, and no parameter in a URL is nullable."""
    for operation in operations(spec).values():
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            assert not [value for value in schema.values() if isinstance(value, float)]
            assert "null" not in json.dumps(schema)
    book = spec["paths"]["/books/{book_id}"]["get"]["parameters"][0]["schema"]
    assert (book["minimum"], book["maximum"]) == (1, 2**63 - 1)


def test_list_parameters(spec: dict[str, Any]) -> None:
    """GET /books lists its parameters, including If-None-Match with the 304 response."""
    operation = spec["paths"]["/books"]["get"]
    assert {parameter["name"] for parameter in operation["parameters"]} == {
        "id",
        "author_id", "genre", "language", "isbn13", "year_from", "year_to", "updated_since", "q", "sort", "fields",
        "limit", "cursor", "total", "If-None-Match",
    }  # fmt: skip
    common = {"X-Request-ID", "RateLimit", "RateLimit-Policy"}
    assert operation["responses"]["200"]["headers"].keys() == {"ETag", "Link"} | common
    assert "304" in operation["responses"]


def test_comma_separated_parameters(spec: dict[str, Any]) -> None:
    """`sort` and `fields` are arrays of enumerated values, written as one text with commas."""
    lists = [operation for (path, method), operation in operations(spec).items() if method == "GET"]
    parameters = [p for operation in lists for p in operation.get("parameters", ()) if p["name"] in ("sort", "fields")]
    assert len(parameters) == 8
    for parameter in parameters:
        assert (parameter["style"], parameter["explode"], parameter["schema"]["type"]) == ("form", False, "array")
        items = parameter["schema"]["items"]
        assert set(parameter["schema"].get("default", ())) <= set(items["enum"])
        assert len(set(items["x-enum-varnames"])) == len(items["enum"])
    assert {"id", "-title", "-relevance"} <= set(parameters[0]["schema"]["items"]["enum"])


def test_no_defaults_of_members(spec: dict[str, Any]) -> None:
    """No member of a schema has a default: generators would take an optional member for one that is always present."""
    for name, schema in spec["components"]["schemas"].items():
        assert [member for member, type_ in schema.get("properties", {}).items() if "default" in type_] == [], name


def test_links_of_new_resources(spec: dict[str, Any]) -> None:
    """A 201 links to getting, replacing, updating and deleting the new resource, and changes use its ETag."""
    for name, plural in (("Book", "books"), ("Author", "authors"), ("Genre", "genres")):
        links = spec["paths"][f"/{plural}"]["post"]["responses"]["201"]["links"]
        assert links.keys() == {f"{verb}{name}" for verb in ("get", "replace", "change", "delete")}
        parameters = {f"path.{name.lower()}_id": "$response.body#/id"}
        assert links[f"get{name}"]["parameters"] == parameters
        assert links[f"replace{name}"]["parameters"] == parameters | {"header.If-Match": "$response.header.ETag"}


def test_if_match_is_required(spec: dict[str, Any]) -> None:
    """If-Match is marked as required exactly where its absence is 428."""
    for operation in operations(spec).values():
        parameters = operation.get("parameters", ())
        required = [parameter["required"] for parameter in parameters if parameter["name"] == "If-Match"]
        assert (True in required) is ("428" in operation["responses"])


def test_merge_patch(spec: dict[str, Any]) -> None:
    """A patch requires no member, accepts null for optional members and rejects unknown ones."""
    book, patch = (spec["components"]["schemas"][name] for name in ("BookInput", "BookInputPatch"))
    assert (book["required"], "required" in patch) == (["title"], False)
    assert (patch["properties"].keys(), patch["additionalProperties"]) == (book["properties"].keys(), False)
    nullable = {name for name, member in patch["properties"].items() if {"type": "null"} in member.get("anyOf", ())}
    assert nullable == book["properties"].keys() - {"title"}
    assert "default" not in json.dumps(patch)


def test_examples(spec: dict[str, Any]) -> None:
    """Every example is valid for its schema, and each response schema has one."""
    schemas = spec["components"]["schemas"]
    for name, example in EXAMPLES.items():
        assert schemas[name]["examples"] == [example]
        whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        assert list(Draft202012Validator(whole).iter_errors(example)) == []
    assert {"Book", "BookPage", "AuthorPage", "GenrePage", "GenreDetail", "NewBooks"} <= EXAMPLES.keys()


class NewThing(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=9)]


@post(
    "/things",
    operation_id="makeThing",
    opt=authorization.WRITE,
    operation_class=body(NewThing),
    responses=problems("name_taken", "idempotency_key_reused"),
    response_headers=[ETAG, LOCATION],
)
async def make_thing() -> None:
    """Creates a thing."""


def test_declarations_of_a_handler() -> None:
    """The operation has the body, errors, headers and scope that the handler declares."""
    app = Litestar([make_thing], openapi_config=config())
    spec = json.loads(json.dumps(document(app)))
    assert list(OPENAPI_31_VALIDATOR.iter_errors(spec)) == []
    operation = spec["paths"]["/things"]["post"]
    assert operation["security"] == [{"token": ["catalog:write"]}]
    assert operation["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewThing"}}},
    }
    assert spec["components"]["schemas"]["NewThing"]["additionalProperties"] is False
    assert {"401", "403", "408", "409", "413", "415", "422"} <= operation["responses"].keys()
    reference = operation["responses"]["422"]["$ref"]
    assert reference == "#/components/responses/invalid_body.idempotency_key_reused"
    headers = operation["responses"]["201"]["headers"]
    assert headers.keys() == {"ETag", "Location", "X-Request-ID", "RateLimit", "RateLimit-Policy"}
    for name in ("ETag", "Location"):
        assert headers[name]["schema"] == {"type": "string"}
        assert headers[name]["description"]
    assert headers["X-Request-ID"] == {"$ref": "#/components/headers/X-Request-ID"}
    assert spec["components"]["headers"]["X-Request-ID"]["schema"]["type"] == "string"


def test_the_command(spec: dict[str, Any], tmp_path: Path) -> None:
    """`bookstore openapi` prints the document without a database or settings, and the same text in every process."""
    source = Path(authorization.__file__).parents[2]
    command = [sys.executable, "-m", "bookstore", "openapi"]
    env = {"PYTHONPATH": str(source), "PATH": "", "HOME": str(tmp_path)}
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert result.stdout == json.dumps(spec, indent=2, ensure_ascii=False) + "\n"
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []
