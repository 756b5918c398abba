"""One HTML file with all that it needs: style, scripts and data. It asks for nothing, from any place."""

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
)  # in JSON the same, for HTML and JavaScript no more than letters


def document(title: str, said: Sequence[str], data: object, scripts: Sequence[str]) -> str:
    """A page that `scripts`, files of `page/`, make of `data`. `said` is what a reader without scripts gets.

    The policy lets those scripts and that style run that stand in the file, by their SHA-256, and nothing
    else: neither a script that came with the data nor a request.
    """
    codes = [_shipped(name) for name in scripts]
    style = _shipped("page.css")
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, codes))}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return Template(_shipped("page.html")).substitute(
        policy=policy,
        title=escape(title),
        style=style,
        said="".join(f"<p>{escape(sentence)}</p>" for sentence in said),
        data=msgspec.json.encode(data).decode().translate(_INERT),
        scripts="".join(f"<script>{code}</script>\n" for code in codes),
    )


def _shipped(name: str) -> str:
    return (files("bookstore") / "lab" / "report" / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
