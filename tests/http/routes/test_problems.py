"""/problems: the page to which the `type` of every error points."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http.routes.problems import _render_html

Client = AsyncTestClient[Litestar]
PAGE = Path(__file__).parents[3] / "docs" / "problems.md"


def test_every_code_is_explained() -> None:
    """The page has a section for each code, in the order of PROBLEM_TYPES, and each starts with its status."""
    sections = re.findall(r"^## (\w+)\n\n(\d{3})\. ", PAGE.read_text(), re.MULTILINE)
    assert sections == [(code, str(problem_type.status)) for code, problem_type in PROBLEM_TYPES.items()]


@pytest.mark.anyio
async def test_type_of_a_problem(client: Client) -> None:
    """The `type` of an error points to a section of the page, which runs no script and no style but its own."""
    problem = (await client.get("/books/999")).json()
    page, _, name = problem["type"].partition("#")
    answer = await client.get(page)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    styles = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    hashes = [f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" for style in styles]
    policy = ["default-src 'none'", *hashes, "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    assert answer.headers["content-security-policy"].split("; ") == policy
    assert f'<h2 id="{name}">{name}</h2>' in answer.text


def test_page_is_escaped() -> None:
    """The text of the page is escaped, and all of its Markdown is rendered."""
    assert list(_render_html("# a<b\n\n`<i>` & x\n\n```json\n{<}\n```")) == [
        '<h1 id="a&lt;b">a&lt;b</h1>', "<p><code>&lt;i&gt;</code> &amp; x</p>", "<pre>{&lt;}\n</pre>",
    ]  # fmt: skip
    html = "\n".join(_render_html(PAGE.read_text()))
    assert not re.search(r"`|^#|\]\(|\*\*", html, re.MULTILINE)


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/problems", "/schema/openapi.json"])
async def test_document_is_cached(client: Client, path: str) -> None:
    """A document has an ETag, also compressed; a client that has it gets 304 without a body, for GET and HEAD."""
    for coding in ("identity", "gzip"):
        headers = {"Accept-Encoding": coding}
        whole = await client.get(path, headers=headers)
        assert whole.headers["cache-control"] == "public, no-cache"
        headers["If-None-Match"] = whole.headers["etag"]
        for method in ("GET", "HEAD"):
            again = await client.request(method, path, headers=headers)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == whole.headers["etag"]
        assert (await client.get(path, headers=headers | {"If-None-Match": '"x"'})).content == whole.content


@pytest.mark.anyio
async def test_index(client: Client) -> None:
    """`/` names the lists and the documentation; each path and each target of the Link header answers 200."""
    answer = await client.get("/")
    links = answer.json()
    assert links.pop("version") == (await client.get("/schema/openapi.json")).json()["info"]["version"]
    assert links.keys() == {"books", "authors", "genres", "openapi", "documentation", "problems"}
    for path in [*links.values(), *re.findall("<([^>]+)>", answer.headers["link"])]:
        assert (await client.get(path)).status_code == 200, path
