"""docs/reference.md, written from the code: commands, profile keys, workload keys, environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, get_type_hints

import click

from bookstore import cli
from bookstore.config.scalars import duration_text
from bookstore.config.validation import describe_allowed, unpacked
from bookstore.http import gate, request_body, server
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload import json_schema as workload_schema
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload
from bookstore.profile import json_schema
from bookstore.profile.engine_profile import KEYS, EngineProfile

ENVIRONMENT: Final = {
    "BOOKSTORE_PROFILE": "The engine profile: NAME, FILE or NAME@key=value,… Default: default.",
    "BOOKSTORE_PROFILES_DIR": "A folder of profiles, NAME.yaml, that can be chosen and extended by name as the shipped "
    "ones can, and go over them. Default: none; in the image /etc/bookstore/profiles.",
    "DATABASE_URL": "postgresql://user:password@host/database. Unset: an embedded PostgreSQL, started when needed.",
    "DATABASE_PASSWORD_FILE": "The file with the password for DATABASE_URL, which then has none: a container's secret.",
    "BOOKSTORE_API_TOKENS_FILE": "The file of the tokens that may write. Default: tokens in BOOKSTORE_DATA_DIR. See "
    "[security](security.md).",
    "BOOKSTORE_API_TOKENS": "The same lines, with ; or line ends between them, instead of the file.",
    "BOOKSTORE_READ_ONLY": "on: have no routes that write. Allowed: 1, true, yes, on, 0, false, no, off. Default: off.",
    "BOOKSTORE_DATA_DIR": "Where the embedded PostgreSQL and the tokens live. Default: the user's data folder; for "
    "root /var/lib/bookstore.",
    "BOOKSTORE_HOST": "The address to listen on. Default: 127.0.0.1.",
    "BOOKSTORE_PORT": "The port to listen on. Default: 8000.",
    "BOOKSTORE_METRICS_PORT": "The port of /metrics, for Prometheus. 0 or unset: none, and nothing is counted. See "
    "[metrics](metrics.md).",
    "BOOKSTORE_METRICS_HOST": "The address on which it listens. Default: 127.0.0.1.",
    "BOOKSTORE_LOG_FORMAT": "json: a line an event; text: for reading; auto: text at a terminal, else json. "
    "Default: auto. See [logs](logs.md).",
    "BOOKSTORE_LOG_LEVEL": "The least that is logged: debug, info, warning or error. Default: info.",
    "BOOKSTORE_LOG_REQUESTS": "on: a line for each request. Default: off, only refused writes, slow statements and "
    "errors are.",
    "BOOKSTORE_SLOW_STATEMENT": "From when on a statement is logged as slow, such as 250ms, or off. Default: 1s.",
    "BOOKSTORE_ALLOWED_HOSTS": "The names by which clients may ask for this service (the Host header, without the "
    "port), with commas. Default: on the loopback localhost, 127.0.0.1 and [::1]; beyond it any.",
    "BOOKSTORE_RATE_LIMIT": "How many requests a second one client may send to all workers together, twice as many at "
    "once; beyond that 429. off: any number. Default: off on the loopback, 50 beyond it. /health is not limited.",
    "BOOKSTORE_TRUSTED_PROXIES": "The addresses or networks of the proxies in front, with commas: a client is then the "
    "rightmost other address in X-Forwarded-For. Default: none, a client is who connects.",
    "BOOKSTORE_CORS_ORIGINS": "The origins whose pages may ask, such as https://example.com, with commas. "
    "Default: none.",
    "WEB_CONCURRENCY": "The number of workers; goes over the profile's.",
    "OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER, OTEL_…": "Where traces go, and which, by OpenTelemetry's "
    "[specification](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Unset: "
    "nothing is traced. See [traces](traces.md).",
    "PGPASSWORD, PGPASSFILE": "libpq's and asyncpg's way to keep the password out of DATABASE_URL. Other PG… "
    "variables, GRANIAN_… and LITESTAR_DEBUG are ignored, with a word about it: the profile decides.",
    "BOOKSTORE_TEST_DATABASE_URL": "A server on which the tests may make databases, instead of an embedded one.",
}


def reference() -> str:
    """The page as Markdown."""
    return "\n".join(
        [*_head(), *_commands(), *_profile_keys(), *_workload_keys(), *_environment(), *_limits(), *_exit_codes()]
    )


def _head() -> Iterator[str]:
    yield "# Reference\n"
    yield "Written from the code by `make docs`; a test holds it up to date.\n"


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    with cli.bookstore.make_context("bookstore", [], resilient_parsing=True) as context:
        yield from _help(cli.bookstore, context)


def _help(command: click.Command, context: click.Context) -> Iterator[str]:
    with context.scope(cleanup=False):
        yield f"### `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child:
                inner = click.Context(child, info_name=name, parent=context, terminal_width=80, max_content_width=80)
                yield from _help(child, inner)


def _profile_keys() -> Iterator[str]:
    hints = get_type_hints(EngineProfile, include_extras=True)
    yield "## Keys of an engine profile\n"
    yield "| key | allowed | default | |\n|---|---|---|---|"
    for key in KEYS:
        yield _row(f"`{key}`", describe_allowed(hints[key]), json_schema.default(key), json_schema.meaning(key))
    yield _row("`extends`", "a profile's name, or a path from this file", "none", "All its keys but the description.")
    yield ""


def _workload_keys() -> Iterator[str]:
    whole = get_type_hints(Workload, include_extras=True)
    ask, stage = get_type_hints(RequestSpec, include_extras=True), get_type_hints(Stage, include_extras=True)
    yield "## Keys of a workload\n"
    yield "| key | allowed | default | |\n|---|---|---|---|"
    for key, meaning in workload_schema.MEANINGS.items():
        is_short = key in workload_file.SHORT
        yield _row(
            f"`{key}`", describe_allowed((ask if is_short else whole)[key]), workload_schema.default(key), meaning
        )
    yield "\nOf each of `requests`:\n"
    yield "| key | allowed | |\n|---|---|---|"
    for key, meaning in workload_schema.ASK_MEANINGS.items():
        yield _row(f"`{key}`", describe_allowed(ask[key]), meaning)
    yield "\nOf each of `stages`:\n"
    yield "| key | allowed | |\n|---|---|---|"
    for key, meaning in workload_schema.STAGE_MEANINGS.items():
        yield _row(f"`{key}`", describe_allowed(stage[key]), meaning)
    yield ""


def _environment() -> Iterator[str]:
    yield "## Environment\n"
    yield "Arguments go over the environment, and that over a profile's file.\n"
    yield "| variable | |\n|---|---|"
    for name, meaning in ENVIRONMENT.items():
        yield _row(f"`{name}`", meaning)
    yield ""


def _limits() -> Iterator[str]:
    yield "## Limits of a request\n"
    yield "| what | most | beyond it |\n|---|---|---|"
    yield _row(
        "request line and headers", f"{server.LARGEST_HEAD // 1024} kB, 100 headers", "431 or 414, without a body"
    )
    yield _row("time for them, also on an idle connection", f"{server.HEADERS_WITHIN_S} s", "the connection is closed")
    yield _row("path and query", f"{gate.LONGEST_URL // 1024} kB", "414 `uri_too_long`")
    yield _row("query parameters", str(gate.MOST_PARAMETERS), "400 `invalid_parameter`")
    yield _row("body", f"{request_body.LARGEST_BODY // 1024} kB", "413 `too_large`")
    yield _row("body of `POST /books:batch`", f"{request_body.LARGEST_BATCH // 1024**2} MB", "413 `too_large`")
    yield _row("time for the body", f"{gate.BODY_WITHIN_S:g} s", "408 `request_timeout`, the connection is closed")
    yield _row(
        "time for the answer",
        f"the profile's pool_timeout + statement_timeout + {gate.MARGIN_S:g} s",
        "503 `deadline`",
    )
    yield _row("requests of a client", "`BOOKSTORE_RATE_LIMIT`", "429 `too_many_requests`")
    yield ""


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    yield "| code | |\n|---|---|"
    yield "| 0 | fine |\n| 1 | a bug |\n| 2 | bad input, or refused: nothing was started |"
    yield "| 3 | the measurement is not valid; what was measured is stored, if a whole round was |"
    yield "| 99 | a threshold was crossed, or a contender is slower than allowed |\n| 130 | interrupted |"


def _text(hint: Any, value: object) -> str:
    meta = unpacked(hint)[1]
    if isinstance(value, float) and meta:
        return duration_text(value)
    return str(value or "none")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    click.echo(reference())
