"""`bookstore doctor`: check configuration, database, files and machine before startup."""

from __future__ import annotations

import json
import logging
import os
import textwrap
from collections import Counter
from collections.abc import Iterator

import click
import msgspec

from bookstore.config import settings
from bookstore.doctor import Examination, examine
from bookstore.doctor.finding import LEVELS
from bookstore.exceptions import EXIT_REFUSED

WIDTH = 80


@click.command()
@click.option("--profile", "-p", "spec", help="Engine profile: NAME, FILE or NAME@key=value,…")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.  [default: 8000]")
@click.option("--over-budget", is_flag=True, help="Report an exceeded connection budget as a warning.")
@click.option("--read-only", is_flag=True, help="Check a service without routes that write.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Port of /metrics for Prometheus.  [default: none]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(
    context: click.Context,
    spec: str | None,
    host: str | None,
    port: int | None,
    over_budget: bool,
    read_only: bool,
    metrics_port: int | None,
    as_json: bool,
) -> None:
    """Check configuration, database, files and machine.

    The command accepts the arguments and the environment of `bookstore serve`. It reports whether the service
    would start, what is wrong and how to fix it. It starts and changes nothing, and shows no password or token.

    A problem prevents startup; the exit code is then 2. A warning should be fixed; a note is worth knowing.
    If the service is already running, its port is in use: choose another --port.
    """
    arguments = {
        "BOOKSTORE_PROFILE": spec or "",
        "BOOKSTORE_HOST": host or "",
        "BOOKSTORE_PORT": str(port or ""),
        "BOOKSTORE_READ_ONLY": "on" if read_only else "",
        "BOOKSTORE_METRICS_PORT": "" if metrics_port is None else str(metrics_port),
    }
    ignored = settings.remove_interfering_variables()
    given = {name: text for name, text in arguments.items() if text}
    logger = logging.getLogger("bookstore")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # the findings report what the checks would log
    try:
        examination = examine(os.environ, given, ignored, over_budget=over_budget)
    finally:
        logger.setLevel(level)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(examination), indent=2, ensure_ascii=False))
    else:
        for line in _format(examination):
            click.echo(line)
    if not examination.starts:
        context.exit(EXIT_REFUSED)


def _format(examination: Examination) -> Iterator[str]:
    counts = Counter(finding.level for finding in examination.findings)
    summary = ", ".join(f"{counts[level]} {level}{'s' if counts[level] != 1 else ''}" for level in LEVELS[:-1])
    yield f"serve would {'start' if examination.starts else 'refuse to start'}: {summary}"
    yield ""
    for finding in examination.findings:
        yield from _wrap(f"{finding.level:<8} {finding.check}: {finding.found}", 9)
        if finding.do:
            yield from _wrap(f"{'':<8} -> {finding.do}", 12)
    yield ""
    yield "configuration"
    for value in examination.configuration:
        setting = f"  {value.name} = {value.value}"
        gap = WIDTH - len(setting) - len(value.origin)
        if gap >= 2:
            yield setting + " " * gap + value.origin
        else:
            yield from _wrap(setting, 6)
            yield f"{value.origin:>{WIDTH}}"


def _wrap(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False, drop_whitespace=True)
