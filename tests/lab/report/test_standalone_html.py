from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files

from bookstore.lab.report import standalone_html

EVIL = "</script><script>alert(1)</script><!-- \u2028 & 'x'"


def test_data_cannot_leave_its_element() -> None:
    """What stands in the data has no sign that HTML or JavaScript reads, and is the same when it is decoded."""
    page = standalone_html.document(EVIL, [EVIL], {"told": EVIL}, ["elements.js"])
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    assert json.loads(found[1]) == {"told": EVIL}
    assert not set("<>&\u2028") & set(found[1])
    assert "<script>alert" not in page


def test_the_policy_names_what_may_run() -> None:
    """Every script and the style of the page is in its policy by hash; nothing else may run or be asked for."""
    page = standalone_html.document("A page", [], {}, ["elements.js", "index.js"])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; ")
    assert "unsafe" not in policy[1]
    parts = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", page, re.DOTALL)
    assert len(parts) == 3
    for part in parts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" in policy[1]


def test_the_libraries_are_those_that_the_notice_names() -> None:
    """Each vendored file has the size and the SHA-256 of NOTICE.md, and its licence beside it."""
    folder = files("bookstore") / "lab" / "report" / "assets"
    notice = (folder / "NOTICE.md").read_text()
    rows = re.findall(r"\| `([a-z0-9.]+)` \| (\d+) \| `([0-9a-f]{64})` \|", notice)
    assert {name for name, _, _ in rows} == {file.name for file in folder.iterdir() if file.name.endswith(".min.js")}
    for name, size, digest in rows:
        content = (folder / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)
    licences = (folder / "LICENSES.txt").read_text()
    assert all(name in licences for name in ("d3 7.9.2", "plot 0.6.17", "isoformat", "interval-tree-1d"))
