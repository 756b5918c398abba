"""Invalid requests with the problem code of their response, and unusual texts that are valid."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from .conftest import ACCEPTED, TOKEN

GOOD: Final = b'{"title": "Bad"}'
"""A valid body."""

JSON: Final = ("Content-Type", "application/json")


class Bad(NamedTuple):
    """An invalid request, a description of the violation, and the problem `code` of the response."""

    violation: str
    code: str
    method: str = "POST"
    path: str = "/books"
    content: bytes | str = b""
    headers: Sequence[tuple[str, str]] = ()


def post(violation: str, code: str, content: bytes | str, path: str = "/books") -> Bad:
    return Bad(violation, code, path=path, content=content, headers=(JSON,))


def book(violation: str, **members: Any) -> Bad:
    return post(violation, "invalid_body", json.dumps({"title": "Bad"} | members))


def year(number: str, code: str = "invalid_body") -> Bad:
    return post(f"year {number[:20]}", code, f'{{"title": "Bad", "publication_year": {number}}}')


def named(violation: str, code: str = "invalid_body", path: str = "/genres", **members: Any) -> Bad:
    return post(violation, code, json.dumps(members), path)


def get(path: str, code: str = "invalid_parameter") -> Bad:
    return Bad(path[:60], code, "GET", path)


def change(violation: str, code: str, method: str, path: str, match: str | None = "*", **members: Any) -> Bad:
    headers = (JSON,) if match is None else (JSON, ("If-Match", match))
    return Bad(violation, code, method, path, json.dumps(members) if members else b"", headers)


def authorization(violation: str, *values: str) -> Bad:
    """A valid book with these Authorization headers instead of the token."""
    headers = (JSON, *(("Authorization", value) for value in values))
    return Bad(violation, "unauthenticated", content=GOOD, headers=headers)


SYNTAX: Final = [
    *(
        post(violation, "malformed_body", content)
        for violation, content in {
            "empty": b"",
            "white space": b" \r\n",
            "truncated": b'{"title": "Ba',
            "trailing comma": b'{"title": "Bad",}',
            "comment": b'{"title": "Bad"} // why',
            "two documents": b'{"title": "Bad"} {"title": "Bad"}',
            "single quotes": b"{'title': 'Bad'}",
            "byte order mark": b'\xef\xbb\xbf{"title": "Bad"}',
            "UTF-16": '{"title": "Bad"}'.encode("utf-16"),
            "not UTF-8": b'{"title": "B\xe4d"}',
            "overlong UTF-8": b'{"title": "\xc0\xaf"}',
            "lone surrogate": rb'{"title": "\ud800"}',
            "raw control character": b'{"title": "B\x00d"}',
            "unknown escape": rb'{"title": "\x41"}',
            "duplicate name": b'{"title": "Bad", "title": "Worse"}',
            "100,000 brackets": b"[" * 100_000,
            "100,000 nested objects": b'{"a":' * 40_000,
        }.items()
    ),
    *(year(number, "malformed_body") for number in ("NaN", "Infinity", "1e309", "1" + "0" * 400, "01", "+1", ".5")),
    *(post(f"is {text}", "invalid_body", text) for text in ("null", "[]", '"x"', "7", "true", "{}")),
    post("1 MB text", "too_large", json.dumps({"title": "x" * 2**20})),
    post("1,000,000 items", "invalid_body", f'{{"items": [1{",1" * 999_999}]}}', "/books:batch"),
    post("5 MB batch", "too_large", b" " * 5 * 2**20, "/books:batch"),
]

MEMBERS: Final = [
    *(book(f"unknown member {name}", **{name: 1}) for name in ("id", "created_at", "version", "is_admin", "Title", "")),
    *(year(number) for number in ("-3001", "10000", "1.5", "2147483648", "9223372036854775808", "1e300")),
    *(year(value) for value in ('"12"', "true", "[]", '"NaN"')),
    *(book(f"author {number!r}", author_ids=[number]) for number in (0, -1, 2**63, 10**18, 1.5, "1", None, True)),
    book("authors not a list", author_ids=1),
    book("duplicate author", author_ids=[1, 1]),
    book("duplicate genre", genre_ids=[2, 1, 2]),
    book("1,001 authors", author_ids=list(range(1, 1002))),
    book("authors null", author_ids=None),
    *(
        book(f"ISBN {number!r}", isbn13=number)
        for number in ("", "9780439023482", "978043902348", "0-439-02348-4", "٩٧٨٠٤٣٩٠٢٣٤٨١", "x" * 21, 9780439023481)
    ),
    *(book(f"language {tag!r}", language=tag) for tag in ("", "EN", "english", "en_US", "en-us", "en\n")),
    book("title null", title=None),
    book("title is a number", title=7),
    post("no title", "invalid_body", "{}"),
    *(
        named(f"slug {slug!r}", name="Bad", slug=slug)
        for slug in ("", "Bad", "a--b", "-a", "a-", "ä", "a b", "a" * 101, "a\n")
    ),
]

INVISIBLE: Final = (
    "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u3164", "\u115f", "\u1160", "\uffa0", "\u2800", "\u0301",
    "\u20dd", "\u0903", "\ufe0f", "\U000e0100", "\U000e0020", "\u034f", "\u061c", "\u202e", "\u2066", "\u2065",
    "\ufffe", " \u200b\u0301 ",
)  # fmt: skip
"""Texts without a visible character: format characters, fillers, combining marks, variation selectors."""

TEXTS: Final = [
    book("title of 1,001 characters", title="x" * 1001),
    book("title of 1,001 emoji", title="📚" * 1001),
    book("title too long after normalisation", title="\u0958" * 501),
    *(book(f"blank title {text!r}", title=text) for text in ("", " ", "\u00a0", "\u3000", "\u2028")),
    *(book(f"invisible title {text!r}", title=text) for text in INVISIBLE),
    *(named(f"invisible name {text!r}", path="/authors", name=text) for text in INVISIBLE),
    named("invisible genre", name="\u200b", slug="invisible"),
    *(
        book(f"title with {character!r}", title=f"B{character}d")
        for character in ("\0", "\n", "\r\nFAKE", "\t", "\x1b[31m", "\x7f", "\x85")
    ),
    *(named(f"{path} with NUL", path=path, name="B\0d") for path in ("/authors", "/genres")),
    *(named(f"{path} of 301 characters", path=path, name="x" * 301) for path in ("/authors", "/genres")),
    book("ISBN with NUL", isbn13="9780439023481\0"),
    book("language with NUL", language="en\0"),
    named("the name of another genre", "name_taken", name="Drama"),
    named("the slug of another genre", "name_taken", name="Other", slug="drama"),
    get("/books?q=%00"),
    get("/books?q=a%00b"),
    get("/books?cursor=%00"),
    get(f"/books?q={'x' * 101}"),
    get(f"/books?q={'%F0%9F%93%9A' * 101}"),
]

PLACES: Final = [
    *(
        get(path, "not_found")
        for path in (
            "/books/0", "/books/-1", "/books/9223372036854775807", "/books/9223372036854775808", f"/books/{10**50}",
            "/books/abc", "/books/1.5", "/books/1e0", "/books/0x1", "/books/%31%00", "/books/ 1", "/books/+1",
            "/books/1_0", "/books/01",            "/books/%D9%A1", "/authors/01/books",
            "/books/..%2f..%2fetc/passwd", "/books/1//x", "/Books", "/BOOKS/1", "/books/1/authors", "/books;v=1",
            "/authors/99", "/authors/99/books", "/genres/99", "/genres/no-such-slug", "/genres/99/books",
            "/genres/01", "/genres/no-such-slug/books", "/genres/Drama", "/genres/9223372036854775808", "/genres/a_b",
            "/books/isbn/9780439023482", "/books/isbn/x", "/books/isbn/9780441478125", "/books/isbn/%00",
            "/metrics", "/.env", "/admin", "/health", "/health/livez", "/schema/x", "/%",
        )
    ),
    *(
        get(f"/books?{query}")
        for query in (
            "limit=-1", "limit=0", "limit=201", "limit=1000000000", "limit=abc", "limit=", "limit=1.5", "limit=null",
            "limit=1&limit=2", "limit=9223372036854775808", f"limit={'9' * 400}", "limit=%D9%A1", "limit=+1",
            "offset=9223372036854775808", "page=2", "Limit=1", "limit%00=1", "limit[]=1", "%26=1", "=",
            "sort=", "sort=price", "sort=(select%201)", "sort=id;drop%20table%20book", "sort=title,title",
            "sort=title,-title",
            "sort=created_at,title", "sort=title,-id", "sort=-publication_year,-title", "sort=--title",
            "sort=id,nonsense",
            "sort=TITLE", "sort=relevance", "sort=title,",
            "fields=", "fields=password", "fields=id,", "fields=*",
            "cursor=", "cursor=x", "cursor=null", "cursor=AAAAAAAAAAAAW10", f"cursor={'A' * 4001}",
            "total=maybe", "total=", "total=null", "total=2",
            "year_from=null", "year_from=10000", "year_to=-3001", "year_to=x", "year_from=1&year_from=2",
            "author_id=0", "author_id=null", "author_id=x", "author_id=9223372036854775808", "author_id=1,2",
            "genre=", "genre=Drama", "genre=a%20b", "genre=9999999999999999999", f"genre={'a' * 101}",
            "genre=drama,", "genre=,drama", "genre=drama&genre=1", f"genre={'a,' * 5}a", "genre=drama,DRAMA",
            "id=", "id=0", "id=-1", "id=1,x", "id=1,,2", "id=1;2", "id=1&id=2", "id=01", "id=%D9%A1", "id=1.5",
            f"id=1,{'9' * 19}", f"id={'1,' * 200}1", "id=null", "id=1_0", "id=+1",
            "isbn13=9780439023481,x", f"isbn13={'9780439023481,' * 200}9780439023481",
            "isbn13=", "isbn13=x", "isbn13=9780439023482", "isbn13=978043902348123456789",
            "language=", "language=EN", "language=e", "language=en-us", "language=en%0A",
            "updated_since=", "updated_since=yesterday", "updated_since=2026-11-29", "updated_since=1764423000",
            "updated_since=2026-11-29T13:30:00", "updated_since=2026-11-29T13:30:00+01:00", "updated_since=null",
            "updated_since=2026-02-30T00:00:00Z", "updated_since=2026-11-29T13:30Z", "updated_since=20261129T133000Z",
            "updated_since=2026-11-29T13:30:00.1234567Z", "updated_since=0001-01-01T00:00:00%2B01:00",
            "genre=drama%0A", "q=a%0D%0Ab", "q=%7F", "q=", "q=a&q=b", "unknown",
        )
    ),
    *(
        get(f"/authors?{query}")
        for query in ("q=", "q=a&q=b", "q=%00", f"q={'a' * 101}", "sort=relevance", "q=a&sort=title", "q=a&cursor=x")
    ),
    get("/genres?q=drama"),
    get("/genres?sort=relevance"),
    *(get(f"{path}?sort=title") for path in ("/authors", "/genres")),
    *(
        get(f"/changes?{query}")
        for query in (
            "since=", "since=x", "since=null", "since=g3n_4tnOCTe0WzJd", f"since={'A' * 4001}", "since=a&since=b",
            "limit=0", "limit=201", "cursor=x", "q=x",
        )
    ),
    Bad("total of an export", "invalid_parameter", "GET", "/books?total=true", headers=(("Accept", "text/csv"),)),
    get("/books/1?fields=id"),
    get("/books/isbn/9780439023481?x=1"),
    get("/health/live?x=1"),
    get("&".join(["/books?a=1"] * 101)),
    get(f"/books?q={'x' * 64_000}", "uri_too_long"),
    get(f"/books/{'1' * 64_000}", "uri_too_long"),
]  # fmt: skip

HTTP: Final = [
    *(
        Bad(f"Content-Type {kind}", "unsupported_media_type", content=GOOD, headers=(("Content-Type", kind),))
        for kind in (
            "text/plain", "text/json", "application/xml", "application/x-www-form-urlencoded", "json", "", "*/*",
            "application/json, text/plain", "application/json; charset=utf-7", "application/json; charset=utf-16",
            "application/json;charset=iso-8859-1", "application/merge-patch+json", "application/problem+json",
        )
    ),
    Bad("no Content-Type", "unsupported_media_type", content=GOOD),
    *(
        Bad(f"{coding} body", "unsupported_media_type", content=content,
            headers=(JSON, ("Content-Encoding", coding)))
        for coding, content in {
            "gzip": gzip.compress(b'{"title": "Bad"}'),
            "br": b"\x0b\x07\x80",
            "x": b'{"title": "Bad"}',
            "identity, gzip": b"",
        }.items()
    ),
    Bad("gzip bomb", "unsupported_media_type", content=gzip.compress(bytes(2**26)),
        headers=(JSON, ("Content-Encoding", "gzip"))),
    *(
        Bad(f"Idempotency-Key {key[:9]!r}", "invalid_parameter", content=GOOD,
            headers=(JSON, ("Idempotency-Key", key)))
        for key in ("", "a b", "x" * 256, "\tx")
    ),
    *(Bad(f"Host {host[:30]!r}", "unknown_host", "GET", headers=(("Host", host),))
      for host in ("", "a b", "a/b", "a@b", "evil.com:x", "evil.com:123456", "[::1", "a" * 300, "-a")),
    *(
        Bad(f"{method} {path}", "method_not_allowed", method, path)
        for path, methods in {
            "/books": ("PUT", "PATCH", "DELETE"),
            "/books/1": ("POST",),
            "/books/isbn/9780439023481": ("POST", "PUT", "PATCH", "DELETE"),
            "/books:batch": ("GET", "PUT", "PATCH", "DELETE"),
            "/authors": ("PUT", "PATCH", "DELETE"),
            "/authors/1": ("POST",),
            "/authors/1/books": ("POST", "PUT", "PATCH", "DELETE"),
            "/genres/1/books": ("POST",),
            "/health/live": ("POST", "DELETE"),
            "/problems": ("POST",),
            "/schema": ("POST",),
        }.items()
        for method in (*methods, "TRACE", "CONNECT", "PROPFIND", "QUERY", "BREW")
    ),
]  # fmt: skip

STATE: Final = [
    post("an ISBN in use", "isbn_taken", '{"title": "Bad", "isbn13": "9780439023481"}'),
    post("a batch with a duplicate ISBN", "invalid_body",
         '{"items": [{"title": "Bad", "isbn13": "9780441478125"}, {"title": "Bad", "isbn13": "0-441-47812-3"}]}',
         "/books:batch"),
    post("a batch with a bad book", "invalid_body", '{"items": [{"title": "Bad"}, {"title": ""}]}', "/books:batch"),
    post("an empty batch", "invalid_body", '{"items": []}', "/books:batch"),
    book("an unknown author", author_ids=[1, 99]),
    book("an unknown genre", genre_ids=[99]),
    *(change(f"{method} of an unknown book", "not_found", method, "/books/99", title="Bad")
      for method in ("PUT", "PATCH")),
    *(change("an unknown resource", "not_found", "PUT", path, name="Bad") for path in ("/authors/99", "/genres/99")),
    *(Bad(f"DELETE {path}", "not_found", "DELETE", path) for path in ("/books/99", "/authors/99", "/genres/99")),
    *(Bad(f"DELETE {path} with books", "in_use", "DELETE", path) for path in ("/authors/1", "/genres/1")),
    Bad("detach null", "invalid_parameter", "DELETE", "/authors/1?detach=null"),
    *(change(f"{method} without If-Match", "if_match_required", method, "/books/1", None, title="Bad")
      for method in ("PUT", "PATCH")),
    *(change(f"{method} with If-Match {match[:20]!r}", "stale", method, "/books/1", match, title="Bad")
      for method in ("PUT", "PATCH", "DELETE")
      for match in ("", "junk", '"', '"0"', 'W/"1.1.2"', "1", '"a" "b"', "**", '"*"', '"\u00e4"', '"x"' * 2000)),
    change("an unknown member of a patch", "invalid_body", "PATCH", "/books/1", id=7),
    change("an id set to null", "invalid_body", "PATCH", "/books/1", id=None),
    change("a title set to null", "invalid_body", "PATCH", "/books/1", title=None),
    change("the ISBN of another book", "isbn_taken", "PUT", "/books/2", title="Bad", isbn13="0-439-02348-3"),
    change("the name of another genre", "name_taken", "PATCH", "/genres/2", name="Drama"),
    Bad("a patch that is a list", "invalid_body", "PATCH", "/books/1", "[]",
        (("Content-Type", "application/merge-patch+json"), ("If-Match", "*"))),
    Bad("a patch of operations", "unsupported_media_type", "PATCH", "/books/1", "[]",
        (("Content-Type", "application/json-patch+json"), ("If-Match", "*"))),
    Bad("a method override header", "invalid_body", "POST", "/books", "{}",
        (JSON, ("X-HTTP-Method-Override", "DELETE"))),
]  # fmt: skip

TOKENS: Final = [
    authorization("no token"),
    authorization("two tokens", f"Bearer {TOKEN}", f"Bearer {TOKEN}"),
    authorization("a token and another scheme", f"Bearer {TOKEN}", "Basic eDp5"),
    *(
        authorization(f"Authorization {header[:25]!r}", header)
        for header in (
            "", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Token {TOKEN}", f"Bearer{TOKEN}", f"Bearer: {TOKEN}",
            f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN} x",
            f"Bearer {TOKEN}, Bearer {TOKEN}", f"Bearer {ACCEPTED.digest}", "Bearer null", "Bearer *", "Bearer \u00e4",
            "Bearer ' OR 1=1 --", f"Bearer {'x' * 10_000}",
            "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsInNjb3BlIjoiYWRtaW4ifQ.",  # JWTs are not accepted: alg none
            "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiIsImV4cCI6OTk5OTk5OTk5OX0.c2lnbmF0dXJl",
        )
    ),
    *(
        Bad(f"no token for {method} {path}", "unauthenticated", method, path, "{}", (JSON,))
        for path, methods in {
            "/books": ("POST",), "/books/1": ("PUT", "PATCH", "DELETE"), "/books:batch": ("POST",),
            "/authors": ("POST",), "/authors/1": ("PUT", "PATCH", "DELETE"),
            "/genres": ("POST",), "/genres/1": ("PUT", "PATCH", "DELETE"),
        }.items()
        for method in methods
    ),
    *(
        Bad(f"{header!r} for {path}", "unauthenticated", "GET", path, headers=(("Authorization", header),))
        for path in ("/books", "/books/1", "/authors", "/genres/drama", "/")
        for header in ("Bearer x", "Bearer", f"Basic {TOKEN}", "")
    ),
    Bad("a token in the URL", "unauthenticated", path=f"/books?access_token={TOKEN}"),
]  # fmt: skip


ODD: Final = (
    "x" * 300, "📚" * 300, "é" * 300, "שלום עולם", "مرحبا بالعالم", "\u202egnp.exe", "a\u200bb", "\ufeffa",
    "👩\u200d👩\u200d👧", "Z\u0351a\u0352l\u0353g\u0354o", "漢字かな", "%", "_", "\\", "100%_\\'\"",
    "'; DROP TABLE book; --",
    "' OR 'a'='a", "{{7*7}}", "${jndi:ldap://x}", "<script>alert(1)</script>", "=cmd|'/C calc'!A0", "../../etc/passwd",
    "null", "NaN", "%00", "\\u0000", "a & b | !c <-> d:*", "|", "-1", "0",
)  # fmt: skip
"""Valid texts of at most 300 characters, the limit for a name."""

SECTIONS: Final = {
    "syntax": SYNTAX, "members": MEMBERS, "texts": TEXTS, "places": PLACES, "http": HTTP, "state": STATE,
    "tokens": TOKENS,
}  # fmt: skip
