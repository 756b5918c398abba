"""/problems: the documentation of the problem codes. The `type` of every error points to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from html import escape

from litestar import MediaType, Response, get

from bookstore.config.resources import shipped
from bookstore.http import authorization
from bookstore.http.problem_details import PROBLEMS_PATH


@get(
    PROBLEMS_PATH,
    opt=authorization.PUBLIC,
    operation_id="getProblems",
    summary="Get the documentation of the problem codes",
    tags=["Service"],
    media_type=MediaType.HTML,
)
async def problems() -> Response[str]:
    """Returns an HTML page that explains every problem code. `/problems#stale` is the section of the code `stale`."""
    return Response(_page(), headers={"Content-Security-Policy": "default-src 'none'"})


@cache
def _page() -> str:
    text = (shipped("docs") / "problems.md").read_text("utf-8")
    head = '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Problems</title>\n'
    return head + "\n".join(_render_html(text)) + "\n</html>\n"


def _render_html(markdown: str) -> Iterator[str]:
    """Render the Markdown that docs/problems.md uses: headings, paragraphs, `code` and one fenced block."""
    for block in markdown.strip().split("\n\n"):
        if heading := re.fullmatch(r"(#+) (.+)", block):
            level, text = len(heading[1]), escape(heading[2])
            yield f'<h{level} id="{text}">{text}</h{level}>'
        elif block.startswith("```"):
            _, _, code = block.removesuffix("```").partition("\n")
            yield f"<pre>{escape(code)}</pre>"
        else:
            text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(block))
            yield f"<p>{text}</p>"
