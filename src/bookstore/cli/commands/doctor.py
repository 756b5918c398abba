"""`bookstore doctor`: would the service start, and be well?"""

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
@click.option("--host", help="Address that the service would listen on")
@click.option("--port", type=click.IntRange(1, 65535), help="Port that the service would listen on")
@click.option("--over-budget", is_flag=True, help="As of serve: the budget is no obstacle.")
@click.option("--read-only", is_flag=True, help="As of serve: nobody writes.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Port for Prometheus's scraper")
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
    """Say whether the service would start, what is wrong, and what to do.

    Takes what `bookstore serve` takes, from the same arguments and environment, and looks at the
    configuration, the database, the files and the machine. It starts and changes nothing, and never shows a
    password or token.

    A problem stops a start: serve would refuse for the same reason, and the exit code is 2. A warning is to be
    mended, a note to be known. Where the service runs already, its own port is in use: name another --port.
    """
    logging.getLogger("bookstore").setLevel(logging.CRITICAL)  # what the looks would log, they tell
    given = {
        "BOOKSTORE_PROFILE": spec or "",
        "BOOKSTORE_HOST": host or "",
        "BOOKSTORE_PORT": str(port or ""),
        "BOOKSTORE_READ_ONLY": "on" if read_only else "",
        "BOOKSTORE_METRICS_PORT": "" if metrics_port is None else str(metrics_port),
    }
    ignored = settings.shed_interfering()
    found = examine(os.environ, {name: text for name, text in given.items() if text}, ignored, over_budget=over_budget)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2, ensure_ascii=False))
    else:
        for line in _lines(found):
            click.echo(line)
    if not found.starts:
        context.exit(EXIT_REFUSED)


def _lines(found: Examination) -> Iterator[str]:
    counted = Counter(one.level for one in found.findings)
    counts = ", ".join(f"{counted[level]} {level}{'s' if counted[level] != 1 else ''}" for level in LEVELS[:-1])
    yield f"serve would {'start' if found.starts else 'refuse to start'}: {counts}"
    yield ""
    for one in found.findings:
        yield from _wrapped(f"{one.level:<8} {one.check}: {one.found}", 9)
        if one.do:
            yield from _wrapped(f"{'':<8} -> {one.do}", 12)
    yield ""
    yield "configuration"
    for value in found.configuration:
        said = f"  {value.name} = {value.value}"
        gap = WIDTH - len(said) - len(value.origin)
        if gap >= 2:
            yield said + " " * gap + value.origin
        else:
            yield from _wrapped(said, 6)
            yield f"{value.origin:>{WIDTH}}"


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False, drop_whitespace=True)
