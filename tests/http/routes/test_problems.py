"""/problems: the page that the `type` of every error leads to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http.routes.problems import _html

Client = AsyncTestClient[Litestar]
PAGE = Path(__file__).parents[3] / "docs" / "problems.md"


def test_every_kind_is_explained() -> None:
    """The page has a section for each code there is, in the table's order, and each starts with its status."""
    sections = re.findall(r"^## (\w+)\n\n(\d{3})\. ", PAGE.read_text(), re.MULTILINE)
    assert sections == [(code, str(kind.status)) for code, kind in PROBLEM_TYPES.items()]


@pytest.mark.anyio
async def test_the_type_of_a_problem_leads_to_its_section(client: Client) -> None:
    """Following an error's `type` gives a page with a section of that name, which runs no script."""
    problem = (await client.get("/books/999")).json()
    page, _, name = problem["type"].partition("#")
    answer = await client.get(page)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == "default-src 'none'"
    assert f'<h2 id="{name}">{name}</h2>' in answer.text


def test_the_page_is_escaped() -> None:
    """Whatever is written in the page, nothing of it becomes markup; all its Markdown is understood."""
    assert list(_html("# a<b\n\n`<i>` & x\n\n```json\n{<}\n```")) == [
        '<h1 id="a&lt;b">a&lt;b</h1>', "<p><code>&lt;i&gt;</code> &amp; x</p>", "<pre>{&lt;}\n</pre>",
    ]  # fmt: skip
    html = "\n".join(_html(PAGE.read_text()))
    assert not re.search(r"`|^#|\]\(|\*\*", html, re.MULTILINE)
