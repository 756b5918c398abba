"""A self-contained HTML file with its style, scripts and data. It sends no requests."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

import msgspec

_INERT: Final = str.maketrans(
    {sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
)  # the same text in JSON, and plain letters for HTML and JavaScript


def document(title: str, fallback: Sequence[str], data: object, scripts: Sequence[str]) -> str:
    """Return a page that `scripts`, names of files in `assets/`, draw from `data`. `fallback` is shown without scripts.

    The Content-Security-Policy allows the embedded scripts and style by their SHA-256. It blocks everything else, such
    as a script in the data or a request.
    """
    codes = [_asset(name) for name in scripts]
    style = _asset("page.css")
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, codes))}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return Template(_asset("page.html")).substitute(
        policy=policy,
        title=escape(title),
        style=style,
        fallback="".join(f"<p>{escape(sentence)}</p>" for sentence in fallback),
        data=msgspec.json.encode(data).decode().translate(_INERT),
        scripts="".join(f"<script>{code}</script>\n" for code in codes),
    )


def _asset(name: str) -> str:
    return (files("bookstore") / "lab" / "report" / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
