from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files

from bookstore.lab.report import standalone_html

MARKUP = "</script><script>alert(1)</script><!-- \u2028 & 'x'"


def test_data_cannot_leave_its_element() -> None:
    """The data contains no character that is special in HTML or JavaScript, and decodes to the same value."""
    page = standalone_html.document(MARKUP, [MARKUP], {"told": MARKUP}, ["elements.js"])
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    assert json.loads(found[1]) == {"told": MARKUP}
    assert not set("<>&\u2028") & set(found[1])
    assert "<script>alert" not in page


def test_the_policy_allows_only_embedded_scripts() -> None:
    """The policy has the hash of every script and of the style; it blocks everything else."""
    page = standalone_html.document("A page", [], {}, ["elements.js", "index.js"])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; ")
    assert "unsafe" not in policy[1]
    parts = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", page, re.DOTALL)
    assert len(parts) == 3
    for part in parts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" in policy[1]


def test_the_libraries_match_the_notice() -> None:
    """Each vendored file has the size and the SHA-256 of NOTICE.md, and a licence text."""
    folder = files("bookstore") / "lab" / "report" / "assets"
    notice = (folder / "NOTICE.md").read_text()
    rows = re.findall(r"\| `([a-z0-9.]+)` \| (\d+) \| `([0-9a-f]{64})` \|", notice)
    assert {name for name, _, _ in rows} == {file.name for file in folder.iterdir() if file.name.endswith(".min.js")}
    for name, size, digest in rows:
        content = (folder / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)
    licences = (folder / "LICENSES.txt").read_text()
    assert all(name in licences for name in ("d3 7.9.2", "plot 0.6.17", "isoformat", "interval-tree-1d"))
