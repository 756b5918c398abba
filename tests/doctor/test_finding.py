from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg

from bookstore.doctor.finding import Finding, error_findings, run_check
from bookstore.exceptions import ConfigurationError

FINE = Finding("ok", "files", "fine")


def test_what_fails_is_a_finding() -> None:
    """A look that breaks, or is refused, keeps what it had found, and tells the kind of error without its words."""

    def broken(error: Exception) -> Iterator[Finding]:
        yield FINE
        raise error

    assert run_check("files", lambda: broken(ValueError("c4n@ry"))) == [
        FINE,
        Finding(
            "warning", "files", "could not be looked at: ValueError", "mend what stands in the way, and look again"
        ),
    ]
    [_, denied] = run_check("files", lambda: broken(PermissionError(13, "Permission denied", "secret")))
    assert denied.found == "could not be looked at: PermissionError: Permission denied"
    [_, refusal] = run_check("files", lambda: broken(ConfigurationError("x: found 1; allowed is 2")))
    assert refusal == Finding("problem", "files", "x: found 1", "allowed is 2")
    [_, silent] = run_check("files", lambda: broken(psycopg.OperationalError("with password=c4n@ry")))
    assert silent.found == "could not be looked at: OperationalError"


def test_what_hangs_is_a_finding() -> None:
    """A look that gives no answer is left behind in time, with what it had found."""
    free = threading.Event()

    def hanging() -> Iterator[Finding]:
        yield FINE
        free.wait()

    assert run_check("files", hanging, "problem", within_s=0.2) == [
        FINE,
        Finding("problem", "files", "gave no answer within 0.2 s", "see why it hangs"),
    ]
    free.set()


def test_a_refusal_is_a_problem_a_line() -> None:
    """Each line is a problem of its own; what stands behind the last semicolon is to be done."""
    assert error_findings("profile", ConfigurationError("a: b; c; do this\nd")) == [
        Finding("problem", "profile", "a: b; c", "do this"),
        Finding("problem", "profile", "d"),
    ]
