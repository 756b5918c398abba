"""/problems: the documentation of the problem codes. The `type` of every error points to it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from html import escape
from typing import Any, Final

from litestar import MediaType, Request, Response, get

from bookstore.config.resources import shipped
from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http import authorization
from bookstore.http.openapi.operations import ETAG
from bookstore.http.problem_details import PROBLEMS_PATH
from bookstore.http.routes import responses

_STYLE: Final = """
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0; color: #1a1a1a; background: #fff; }
main { max-width: 46rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h2 { font: 600 1.2rem/1.5 ui-monospace, monospace; margin: 0; padding-top: .5rem; border-top: 1px solid #ccc; }
section:target { background: #fff6d6; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; background: #f3f3f3; }
nav ul { columns: 12rem; padding-left: 1.2rem; }
a { color: #0b57a4; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e6; background: #161616; }
  h2 { border-color: #444; }
  section:target { background: #33301c; }
  pre { background: #242424; }
  a { color: #8ab8f0; }
}
"""
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded, and no style but this one applies."""


@get(
    PROBLEMS_PATH,
    opt=authorization.PUBLIC,
    operation_id="getProblems",
    summary="Get the documentation of the problem codes",
    tags=["Service"],
    media_type=MediaType.HTML,
    response_headers=[ETAG],
)
async def problems(request: Request[Any, Any, Any]) -> Response[str]:
    """Returns an HTML page that explains every problem code. `/problems#stale` is the section of the code `stale`."""
    return responses.document(request, _page(), MediaType.HTML, {"Content-Security-Policy": _POLICY})


@cache
def _page() -> bytes:
    text = (shipped("docs") / "problems.md").read_text("utf-8")
    contents = "".join(f'<li><a href="#{code}"><code>{code}</code></a></li>' for code in PROBLEM_TYPES)
    introduction, *sections = "\n".join(_render_html(text)).split("\n<h2")
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Problems - Bookstore</title>
<style>{_STYLE}</style>
<main>
{introduction}
<nav aria-label="Problem codes"><ul>{contents}</ul></nav>
{"".join(f"<section><h2{section}</section>" for section in sections)}
</main>
</html>
""".encode()


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
