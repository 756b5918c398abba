"""Conditional requests: which headers mean that a client has the state already, or meant another one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookstore.exceptions import ApiError
from bookstore.http import conditional

TAG = "7.1.2"
AT = 1_600_000_000
DATE = "Sun, 13 Sep 2020 12:26:40 GMT"

KNOWN = [
    '"7.1.2"', 'W/"7.1.2"', '"1", "7.1.2"', '"1","7.1.2" ', ' W/"a,b" , W/"7.1.2"', "*", " * ", '"7.1.2-gzip"',
    'W/"x", "7.1.2-br"', '"", "7.1.2"',
]  # fmt: skip
UNKNOWN = [
    "", '"7.1.3"', "7.1.2", '"7.1.2', 'w/"7.1.2"', '"x" "7.1.2"', "'7.1.2'", '"*"', "*, *", '"7.1.2-lzma"',
    "\N{SNOWMAN}",
]  # fmt: skip


@pytest.mark.parametrize("sent", KNOWN)
def test_known(sent: str) -> None:
    """Any tag of the list counts, weak or coded: a GET compares weakly."""
    assert conditional.is_known({"if-none-match": sent}, TAG, None)


@pytest.mark.parametrize("sent", UNKNOWN)
def test_not_known(sent: str) -> None:
    """Other tags, and what is no list of tags, get the whole answer; a date beside them does not matter."""
    assert not conditional.is_known({"if-none-match": sent, "if-modified-since": DATE}, TAG, AT)


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        (DATE, True), ("Sun, 13 Sep 2020 12:26:41 GMT", True), ("Sun, 13 Sep 2020 12:26:39 GMT", False),
        ("Sunday, 13-Sep-20 12:26:40 GMT", True), ("", False), ("yesterday", False), ("0", False),
        ("Sun, 99 Sep 2020 12:26:40 GMT", False), ("Sun, 13 Sep 99999 12:26:40 GMT", False),
    ],
)  # fmt: skip
def test_dates(sent: str, known: bool) -> None:
    """If-Modified-Since counts to the second; what is no date is as if it had not been sent."""
    assert conditional.is_known({"if-modified-since": sent}, TAG, AT) is known
    assert not conditional.is_known({"if-modified-since": sent}, TAG, None)


def test_http_date() -> None:
    """Seconds are written as HTTP has it."""
    assert conditional.http_date(AT) == DATE


@given(st.text(), st.text())
def test_any_text(tags: str, date: str) -> None:
    """Whatever stands in the headers, the answer is yes or no, and no error but a ApiError."""
    conditional.is_known({"if-none-match": tags}, TAG, AT)
    conditional.is_known({"if-modified-since": date}, TAG, AT)
    with suppress(ApiError):
        conditional.check_match(tags, TAG)


@pytest.mark.parametrize("sent", [None, "*", '"7.1.2"', '"1", "7.1.2"', '"7.1.2-gzip"'])
def test_match(sent: str | None) -> None:
    """A write goes on where one of the tags is the state's."""
    conditional.check_match(sent, TAG)


@pytest.mark.parametrize("sent", ['W/"7.1.2"', '"7.1.1"', "7.1.2", ""])
def test_no_match(sent: str) -> None:
    """A write that meant another state, or tells it weakly, is refused with the state there is."""
    with pytest.raises(ApiError) as caught:
        conditional.check_match(sent, TAG)
    assert caught.value.code == "stale"
    assert caught.value.headers == {"ETag": '"7.1.2"'}


def test_required() -> None:
    """A write that needs If-Match and has none is refused."""
    assert conditional.required("*") == "*"
    with pytest.raises(ApiError) as caught:
        conditional.required(None)
    assert caught.value.code == "if_match_required"
