"""Request bodies: 400 unless strict JSON, 422 with a pointer to each invalid member."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from bookstore.config.text import excerpt
from bookstore.exceptions import ApiError
from bookstore.http import request_body

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Book(msgspec.Struct, forbid_unknown_fields=True):
    title: Annotated[str, Meta(min_length=1, max_length=10)]
    author_ids: Annotated[list[Id], Meta(min_length=1, max_length=3)]
    year: Annotated[int, Meta(ge=-3000, le=9999)] | None = None
    tags: list[str] | msgspec.UnsetType | None = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.title == "same" and self.year == 0:
            raise ValueError("There is no year 0")


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    items: Annotated[list[Book], Meta(min_length=1)]


BOOK: dict[str, Any] = {"title": "A", "author_ids": [1]}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)
BOOKS = st.fixed_dictionaries(
    {},
    optional={
        "title": st.text(max_size=12) | VALUES,
        "author_ids": st.lists(st.integers(), max_size=4) | VALUES,
        "year": st.integers(-4000, 10_000) | VALUES,
        "tags": VALUES,
        "a/~b": VALUES,
    },
)


def read_error(content: bytes, content_type: str | None = "application/json", **keys: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        request_body.read(content, content_type, Book, **keys)
    return caught.value


def convert_errors(document: object, wanted: type = Book) -> list[tuple[str | None, str]]:
    """Return (pointer, detail) for each error."""
    with pytest.raises(ApiError) as caught:
        request_body.convert(document, wanted)
    assert caught.value.code == "invalid_body"
    return [(error.pointer, error.detail) for error in caught.value.errors]


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"; v=1']
)
def test_read(content_type: str) -> None:
    """A valid body with the right Content-Type becomes the struct."""
    assert request_body.read(b' {"title": "\xc3\xa9\\ud83d\\ude00", "author_ids": [1]}\n', content_type, Book) == Book(
        "é😀", [1]
    )


@pytest.mark.parametrize(
    "content_type",
    [
        None, "", "text/plain", "application/json5", "application/x-www-form-urlencoded", "multipart/form-data",
        "application/json; charset=utf-7", "application/json; charset=latin-1", "application/merge-patch+json", ";",
    ],
)  # fmt: skip
def test_other_types(content_type: str | None) -> None:
    """A body that is not declared as JSON in UTF-8 is 415, and Accept lists the supported types."""
    error = read_error(json.dumps(BOOK).encode(), content_type)
    assert error.code == "unsupported_media_type"
    assert error.headers == {"Accept": "application/json"}


def test_types_of_a_route() -> None:
    """A route declares its types; others are rejected even if they are JSON."""
    accepted = ("application/merge-patch+json", "application/json")
    content = json.dumps(BOOK).encode()
    for content_type in accepted:
        assert request_body.read(content, content_type, Book, accepted=accepted) == Book("A", [1])
    error = read_error(content, "application/json-patch+json", accepted=accepted)
    assert "application/merge-patch+json or application/json" in error.detail


def test_compressed() -> None:
    """A compressed body is 415, so it cannot be a decompression bomb."""
    assert read_error(b"\x1f\x8b", encoding="gzip").code == "unsupported_media_type"
    assert request_body.read(json.dumps(BOOK).encode(), "application/json", Book, encoding="Identity") == Book("A", [1])


MALFORMED = {
    "empty": b"", "blank": b" \n", "truncated": b'{"title": "A"', "trailing comma": b'{"title": "A",}',
    "comment": b'{"title": "A"} // why', "two": b"{} {}", "single quotes": b"{'title': 'A'}", "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": json.dumps(BOOK).encode("utf-16"), "UTF-16 without BOM": json.dumps(BOOK).encode("utf-16-le"),
    "invalid UTF-8": b'{"title": "\xff"}', "overlong": b'{"title": "\xc0\x80"}',
    "surrogate": b'{"title": "\xed\xa0\x80"}',
    "lone surrogate": b'{"title": "\\ud800"}', "lone low surrogate": b'{"title": "\\udc00x"}',
    "lone surrogate in a name": b'{"\\ud800": 1}', "NUL byte": b'{"title": "\x00"}', "raw newline": b'{"title": "\n"}',
    "duplicate": b'{"title": "A", "title": "B", "author_ids": [1]}', "inner duplicate": b'[{"a": {"b": 1, "b": 1}}]',
    "NaN": b"NaN", "Infinity": b'{"year": -Infinity}', "1e309": b'{"year": 1e309}',
    "10^400": b'{"year": 1' + b"0" * 400 + b"}",
    "5000 digits": b"1" * 5000, "leading zero": b'{"year": 01}', "hex": b"0x10", "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000, "deep and closed": b"[" * 100_000 + b"]" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_malformed(content: bytes) -> None:
    """Anything but strict JSON in UTF-8 with unique names is 400, with a short reason."""
    error = read_error(content)
    assert error.code == "malformed_body"
    assert len(error.detail) < 200
    assert error.detail.isprintable()


def test_late_duplicate() -> None:
    """A duplicate name is found in one pass, wherever it is."""
    content = json.dumps(dict.fromkeys(map(str, range(100_000)), 0)).encode()[:-1] + b', "99999": 0}'
    assert read_error(content).detail.endswith("an object has the duplicate name 99999.")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (rb'{"title": "\ud800"}', "a \\u escape is half of a surrogate pair"),
        (
            rb'{"title": "\ud800 and more"}',
            "JSON is malformed: unexpected end of escaped utf-16 surrogate pair (byte 17)",
        ),
        (rb'["\ud83d"]', "a \\u escape is half of a surrogate pair"),
        (rb'"\u12"', "invalid \\u escape (byte 2)"),
        ('["é", "\\u1"]'.encode(), "invalid \\u escape (byte 9)"),
        (rb'{"title": "\ud8', "Input data was truncated"),
        (rb'{"title": "\ud800', "Input data was truncated"),
        (b'{"title": "A', "Input data was truncated"),
        (b"tru", "Input data was truncated"),
    ],
)
def test_reason(content: bytes, reason: str) -> None:
    """The detail names the violation: an invalid escape near the end of the body is not a truncated body."""
    with pytest.raises(ApiError) as caught:
        request_body.parse(content, "application/json")
    assert caught.value.detail == f"The request body is not valid JSON: {reason}."


@pytest.mark.parametrize("document", [None, [], "x", 1, True, {}])
def test_other_documents(document: object) -> None:
    """JSON that is not a book is 422."""
    assert convert_errors(document)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("title", 1), ("title", None), ("title", ""), ("title", "A" * 11), ("title", "A\x00"), ("title", "A\nB"),
        ("title", "\x85"), ("title", "\x7f"), ("author_ids", "12"), ("author_ids", []), ("author_ids", [1, 2, 3, 4]),
        ("author_ids", {}), ("year", "12"), ("year", True), ("year", 1.5), ("year", 12.0), ("year", 10_000),
        ("year", 2**63), ("year", [1]), ("tags", "x"), ("tags", {}),
    ],
)  # fmt: skip
def test_invalid_member(member: str, value: object) -> None:
    """A member with the wrong type, length or range is the only error, identified by its pointer."""
    assert [pointer for pointer, _ in convert_errors({**BOOK, member: value})] == [f"/{member}"]
    assert [pointer for pointer, _ in convert_errors({"items": [BOOK, {**BOOK, member: value}]}, Batch)] == [
        f"/items/1/{member}"
    ]


def test_all_errors() -> None:
    """All invalid members are reported at once, in document order, with missing ones at the end."""
    invalid = {"author_ids": [1, "2", 0, True, 2**63], "titel": "A", "year": 1.5, "a/~b": 1, "tags": ["x", "\x00"]}
    assert convert_errors({"items": [BOOK, invalid], "x": 1}, Batch) == [
        ("/items/1/author_ids/1", "Expected `int`, got `str`."),
        ("/items/1/author_ids/2", "Expected `int` >= 1."),
        ("/items/1/author_ids/3", "Expected `int`, got `bool`."),
        ("/items/1/author_ids/4", "Expected `int` <= 9223372036854775807."),
        ("/items/1/titel", "Unknown member; allowed: title (did you mean that?)."),
        ("/items/1/year", "Expected `int | null`, got `float`."),
        ("/items/1/a~1~0b", "Unknown member; allowed: author_ids, tags, title, year."),
        ("/items/1/tags/1", "Control characters are not allowed; found U+0000."),
        ("/items/1/title", "This member is required."),
        ("/x", "Unknown member; allowed: items."),
    ]


def test_rule_over_several_members() -> None:
    """A violated rule over several members points to the object."""
    assert convert_errors({"items": [{"title": "same", "author_ids": [1], "year": 0}]}, Batch) == [
        ("/items/0", "There is no year 0.")
    ]


def test_many_errors() -> None:
    """At most a hundred errors are reported, and long names are shortened."""
    assert len(convert_errors({"title": "A", "author_ids": ["x"] * 10_000})) == 100
    ((pointer, detail),) = convert_errors({**BOOK, "x" * 300_000: 1})
    assert pointer
    assert len(pointer + detail) < 300


@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_content(content: bytes) -> None:
    """Any content is either a document that can be encoded again, or 400."""
    document = outcome(lambda: request_body.parse(content, "application/json"))
    if isinstance(document, ApiError):
        assert document.code == "malformed_body"
    else:
        assert json.loads(json.dumps(document).encode()) == document


@given(BOOKS | VALUES)
def test_any_document(document: object) -> None:
    """A document that msgspec accepts, without control characters, is accepted; otherwise each error points to an
    existing or a missing member."""
    result = outcome(lambda: request_body.convert(document, Book))
    if isinstance(result, ApiError):
        assert result.code == "invalid_body"
        assert result.errors
        for error in result.errors:
            assert error.pointer is not None
            assert error.detail == "This member is required." or resolves(document, error.pointer)
    else:
        assert result == msgspec.convert(document, Book)


def outcome(work: Callable[[], object]) -> object:
    """Return the result of `work`, or the ApiError that it raises."""
    try:
        return work()
    except ApiError as error:
        return error


def resolves(document: Any, pointer: str) -> bool:
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list):
            document = document[int(name)]
        else:
            document = next(member for key, member in document.items() if excerpt(key) == name)
    return True
