"""/problems: the page to which the `type` of every error points."""

from __future__ import annotations

import re
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
    """The `type` of an error points to a section of the page, which runs no script."""
    problem = (await client.get("/books/999")).json()
    page, _, name = problem["type"].partition("#")
    answer = await client.get(page)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == "default-src 'none'"
    assert f'<h2 id="{name}">{name}</h2>' in answer.text


def test_page_is_escaped() -> None:
    """The text of the page is escaped, and all of its Markdown is rendered."""
    assert list(_render_html("# a<b\n\n`<i>` & x\n\n```json\n{<}\n```")) == [
        '<h1 id="a&lt;b">a&lt;b</h1>', "<p><code>&lt;i&gt;</code> &amp; x</p>", "<pre>{&lt;}\n</pre>",
    ]  # fmt: skip
    html = "\n".join(_render_html(PAGE.read_text()))
    assert not re.search(r"`|^#|\]\(|\*\*", html, re.MULTILINE)
