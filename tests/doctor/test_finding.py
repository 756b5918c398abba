from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg

from bookstore.doctor.finding import Finding, error_findings, run_check
from bookstore.exceptions import ConfigurationError

FINE = Finding("ok", "files", "fine")


def test_failed_check_is_a_finding() -> None:
    """A check that fails keeps its earlier findings and reports the class of the error without its message."""

    def broken(error: Exception) -> Iterator[Finding]:
        yield FINE
        raise error

    assert run_check("files", lambda: broken(ValueError("c4n@ry"))) == [
        FINE,
        Finding("warning", "files", "check failed: ValueError", "fix the cause and run it again"),
    ]
    [_, denied] = run_check("files", lambda: broken(PermissionError(13, "Permission denied", "secret")))
    assert denied.found == "check failed: PermissionError: Permission denied"
    [_, problem] = run_check("files", lambda: broken(ConfigurationError("x: found 1; allowed is 2")))
    assert problem == Finding("problem", "files", "x: found 1", "allowed is 2")
    [_, silent] = run_check("files", lambda: broken(psycopg.OperationalError("with password=c4n@ry")))
    assert silent.found == "check failed: OperationalError"


def test_hanging_check_is_a_finding() -> None:
    """A check that hangs is abandoned in time, and its earlier findings are kept."""
    free = threading.Event()

    def hanging() -> Iterator[Finding]:
        yield FINE
        free.wait()

    assert run_check("files", hanging, "problem", timeout_s=0.2) == [
        FINE,
        Finding("problem", "files", "check did not finish within 0.2 s", "find out why it hangs"),
    ]
    free.set()


def test_error_lines_are_findings() -> None:
    """Each line of an error is a finding of its own; the text after its last semicolon is the fix."""
    assert error_findings("profile", ConfigurationError("a: b; c; do this\nd")) == [
        Finding("problem", "profile", "a: b; c", "do this"),
        Finding("problem", "profile", "d"),
    ]
