"""Content negotiation by Accept."""

from __future__ import annotations

import pytest

from bookstore.http.accept import choose

OFFERED = ("application/json", "text/csv", "application/x-ndjson")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"), ("", "application/json"), ("*/*", "application/json"),
        ("text/csv", "text/csv"), ("TEXT/CSV; header=present", "text/csv"), ("text/*", "text/csv"),
        ("application/x-ndjson", "application/x-ndjson"), ("application/*", "application/json"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("text/csv, application/json;q=0.9", "text/csv"),
        ("text/csv;q=0, */*;q=0.1", "application/json"), ("text/csv;q=0", "application/json"),
        ("application/json;q=0, */*", "text/csv"), ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("text/html", "application/json"), ("text/csv;q=x", "text/csv"), ("text/csv,", "text/csv"),
        ("csv", "application/json"), ("text/csv" + " " * 2000, "application/json"),
    ],
)  # fmt: skip
def test_the_preferred_type(accept: str | None, expected: str) -> None:
    """The highest weight wins, the most specific range counts, and the first type is the default."""
    assert choose(accept, OFFERED) == expected
