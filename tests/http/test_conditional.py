"""Conditional requests: when a client's copy is current, and when a write names an outdated version."""

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
    ',"7.1.2"', '"1",, ,"7.1.2",', ' , \t"7.1.2" , ', 'W/"x",,W/"7.1.2",,',
]  # fmt: skip
UNKNOWN = [
    "", '"7.1.3"', "7.1.2", '"7.1.2', 'w/"7.1.2"', '"x" "7.1.2"', "'7.1.2'", '"*"', "*, *", '"7.1.2-lzma"',
    "\N{SNOWMAN}", ",", " , ,", '"7.1.2" x,', ',"7.1.3",',
]  # fmt: skip


@pytest.mark.parametrize("sent", KNOWN)
def test_known(sent: str) -> None:
    """A GET compares weakly: any tag in the list matches, weak or coded."""
    assert conditional.is_known({"if-none-match": sent}, TAG, None)


@pytest.mark.parametrize("sent", UNKNOWN)
def test_not_known(sent: str) -> None:
    """Other tags and malformed lists do not match, and a date sent with them is ignored."""
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
    """If-Modified-Since has a resolution of one second; an invalid date is ignored."""
    assert conditional.is_known({"if-modified-since": sent}, TAG, AT) is known
    assert not conditional.is_known({"if-modified-since": sent}, TAG, None)


def test_http_date() -> None:
    """Seconds are formatted as an HTTP date."""
    assert conditional.http_date(AT) == DATE


@given(st.text(), st.text())
def test_any_text(tags: str, date: str) -> None:
    """Whatever the headers contain, nothing but an ApiError is raised."""
    conditional.is_known({"if-none-match": tags}, TAG, AT)
    conditional.is_known({"if-modified-since": date}, TAG, AT)
    with suppress(ApiError):
        conditional.check_match(tags, TAG)


@pytest.mark.parametrize("sent", [None, "*", '"7.1.2"', '"1", "7.1.2"', '"7.1.2-gzip"', ',"1", ,"7.1.2",'])
def test_match(sent: str | None) -> None:
    """A write is accepted if one of the tags is current, or If-Match is absent or `*`."""
    conditional.check_match(sent, TAG)


@pytest.mark.parametrize("sent", ['W/"7.1.2"', '"7.1.1"', "7.1.2", ""])
def test_no_match(sent: str) -> None:
    """A write with an outdated or weak tag is rejected, and the error has the current ETag."""
    with pytest.raises(ApiError) as caught:
        conditional.check_match(sent, TAG)
    assert caught.value.code == "stale"
    assert caught.value.headers == {"ETag": '"7.1.2"'}


def test_required() -> None:
    """A write that requires If-Match is rejected without it."""
    assert conditional.require_if_match("*") == "*"
    with pytest.raises(ApiError) as caught:
        conditional.require_if_match(None)
    assert caught.value.code == "if_match_required"
