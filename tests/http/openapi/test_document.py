"""The OpenAPI document: valid, complete, and true."""

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
from bookstore.http.openapi import operations as openapi
from bookstore.http.openapi.document import document
from bookstore.http.openapi.examples import EXAMPLES
from bookstore.http.openapi.operations import ETAG, LOCATION, body, problems
from bookstore.http.problem_details import PROBLEM_JSON
from bookstore.profile.engine_profile import EngineProfile

NOWHERE = sa.make_url("postgresql://")


@pytest.fixture(scope="module")
def app() -> Litestar:
    """The service; it is not started, so that it needs no database."""
    return make_app(make_database(EngineProfile(name="test", driver="asyncpg", gc="default"), NOWHERE))


@pytest.fixture(scope="module")
def made(app: Litestar) -> dict[str, Any]:
    return json.loads(json.dumps(document(app)))  # type: ignore[no-any-return]


def operations(made: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (path, method.upper()): operation for path, item in made["paths"].items() for method, operation in item.items()
    }


def test_valid(made: dict[str, Any]) -> None:
    """The document is OpenAPI 3.1, and every reference in it leads somewhere."""
    assert made["openapi"].startswith("3.1.")
    assert list(OPENAPI_31_VALIDATOR.iter_errors(made)) == []
    for reference in references(made):
        found = made
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [one for value in node.values() for one in references(value)]
    return [one for value in node for one in references(value)] if isinstance(node, list) else []


def test_every_route_is_described(app: Litestar, made: dict[str, Any]) -> None:
    """What is served is in the document, and the other way; but for the document's own page."""
    served = {
        (route.path_format, method)
        for route in app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith("/schema")
        for method in route.methods
        if method != "OPTIONS"
    }
    assert operations(made).keys() == served


def test_every_operation_is_told_in_words(made: dict[str, Any]) -> None:
    """Each operation has its own id, a summary, a description and a tag that is explained."""
    every = operations(made).values()
    assert len({one["operationId"] for one in every}) == len(every)
    known = {tag["name"] for tag in made["tags"] if tag["description"]}
    for one in every:
        assert one["summary"]
        assert one["description"]
        assert one["tags"]
        assert set(one["tags"]) <= known


def test_every_error_is_a_problem(made: dict[str, Any]) -> None:
    """Each operation lists the errors that every route can answer, as problems and with their headers."""
    shared = made["components"]["responses"]
    for operation in operations(made).values():
        responses = operation["responses"]
        assert {"400", "414", "429", "500", "503"} <= responses.keys()
        for status, response in responses.items():
            if int(status) >= 400:
                told = shared[response["$ref"].split("/")[-1]] if "$ref" in response else response
                codes = told["content"][PROBLEM_JSON]["examples"]
                assert all(PROBLEM_TYPES[code].status == int(status) for code in codes)
                assert ("Retry-After" in told.get("headers", {})) is (status in {"429", "503"})
    examples = made["components"]["examples"]
    assert examples.keys() == PROBLEM_TYPES.keys()
    assert all(example["value"]["code"] == code for code, example in examples.items())


def test_who_may_do_what(app: Litestar, made: dict[str, Any]) -> None:
    """Reading needs no token, in words and in deed; what needs one names its scope and tells 401 and 403."""
    for (_, method), operation in operations(made).items():
        (scopes,) = [one["token"] for one in operation["security"]] or [[]]
        assert (method == "GET") is (scopes == [])
        assert ({"401", "403"} <= operation["responses"].keys()) is (scopes != [])


def test_no_limit_is_a_float(made: dict[str, Any]) -> None:
    """The largest id is told exactly, and no parameter in a URL is said to be null."""
    for operation in operations(made).values():
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            assert not [value for value in schema.values() if isinstance(value, float)]
            assert "null" not in json.dumps(schema)
    book = made["paths"]["/books/{book_id}"]["get"]["parameters"][0]["schema"]
    assert (book["minimum"], book["maximum"]) == (1, 2**63 - 1)


def test_the_parameters_of_a_list(made: dict[str, Any]) -> None:
    """What GET /books can be asked for is told, and that it can be asked for anew by its ETag."""
    operation = made["paths"]["/books"]["get"]
    assert {one["name"] for one in operation["parameters"]} == {
        "author_id", "genre", "language", "isbn13", "year_from", "year_to", "q", "sort", "fields", "limit", "cursor",
        "total", "If-None-Match",
    }  # fmt: skip
    assert operation["responses"]["200"]["headers"].keys() == {"ETag", "Link", "X-Request-ID"}
    assert "304" in operation["responses"]


def test_what_was_made_has_links(made: dict[str, Any]) -> None:
    """A 201 leads to reading, replacing, changing and removing what was made, a change with its ETag."""
    for name, plural in (("Book", "books"), ("Author", "authors"), ("Genre", "genres")):
        links = made["paths"][f"/{plural}"]["post"]["responses"]["201"]["links"]
        assert links.keys() == {f"{verb}{name}" for verb in ("get", "replace", "change", "delete")}
        place = {f"path.{name.lower()}_id": "$response.body#/id"}
        assert links[f"get{name}"]["parameters"] == place
        assert links[f"replace{name}"]["parameters"] == place | {"header.If-Match": "$response.header.ETag"}


def test_changes_need_a_condition(made: dict[str, Any]) -> None:
    """If-Match is told to be required where its absence is 428, and there only."""
    for operation in operations(made).values():
        required = [one["required"] for one in operation.get("parameters", ()) if one["name"] == "If-Match"]
        assert (True in required) is ("428" in operation["responses"])


def test_a_merge_patch_has_what_is_changed(made: dict[str, Any]) -> None:
    """A patch needs no member; null takes away what need not be there; unknown members are refused."""
    draft, patch = (made["components"]["schemas"][name] for name in ("BookInput", "BookInputPatch"))
    assert (draft["required"], "required" in patch) == (["title"], False)
    assert (patch["properties"].keys(), patch["additionalProperties"]) == (draft["properties"].keys(), False)
    nullable = {name for name, member in patch["properties"].items() if {"type": "null"} in member.get("anyOf", ())}
    assert nullable == draft["properties"].keys() - {"title"}
    assert "default" not in json.dumps(patch)


def test_examples_are_what_they_are_of(made: dict[str, Any]) -> None:
    """Every example is of the document's schema, and each answer with a body of ours has one."""
    schemas = made["components"]["schemas"]
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
    """Makes a thing."""


def test_what_a_handler_says() -> None:
    """Body, errors, headers and scope of a handler are in its operation."""
    app = Litestar([make_thing], openapi_config=openapi.config())
    made = json.loads(json.dumps(document(app)))
    assert list(OPENAPI_31_VALIDATOR.iter_errors(made)) == []
    operation = made["paths"]["/things"]["post"]
    assert operation["security"] == [{"token": ["catalog:write"]}]
    assert operation["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewThing"}}},
    }
    assert made["components"]["schemas"]["NewThing"]["additionalProperties"] is False
    assert {"401", "403", "408", "409", "413", "415", "422"} <= operation["responses"].keys()
    reference = operation["responses"]["422"]["$ref"]
    assert reference == "#/components/responses/invalid_body.idempotency_key_reused"
    headers = operation["responses"]["201"]["headers"]
    assert headers.keys() == {"ETag", "Location", "X-Request-ID"}
    for name in ("ETag", "Location"):
        assert headers[name]["schema"] == {"type": "string"}
        assert headers[name]["description"]
    assert headers["X-Request-ID"] == {"$ref": "#/components/headers/X-Request-ID"}
    assert made["components"]["headers"]["X-Request-ID"]["schema"]["type"] == "string"


def test_the_command(made: dict[str, Any], tmp_path: Path) -> None:
    """`bookstore openapi` prints the document, with no database and nothing in the environment; every process the
    same text."""
    source = Path(openapi.__file__).parents[3]
    command = [sys.executable, "-m", "bookstore", "openapi"]
    env = {"PYTHONPATH": str(source), "PATH": "", "HOME": str(tmp_path)}
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert result.stdout == json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []
