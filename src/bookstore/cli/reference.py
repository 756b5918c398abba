"""Generator of docs/reference.md: commands, profile keys, workload keys, environment, limits, exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_type_hints

import click

from bookstore import cli
from bookstore.config.validation import describe_allowed
from bookstore.http import draining, gate, request_body, server
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload import json_schema as workload_schema
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload
from bookstore.profile import json_schema
from bookstore.profile.engine_profile import KEYS, EngineProfile

ENVIRONMENT: Final = {
    "BOOKSTORE_PROFILE": "The engine profile: NAME, FILE or NAME@key=value,… Default: default.",
    "BOOKSTORE_PROFILES_DIR": "A folder of profiles, NAME.yaml. They can be selected and extended by name, and take "
    "precedence over shipped ones. Default: none; in the image /etc/bookstore/profiles.",
    "DATABASE_URL": "postgresql://user:password@host/database. If unset, an embedded PostgreSQL, started when needed.",
    "DATABASE_PASSWORD_FILE": "The file with the password, such as a container secret. DATABASE_URL must then contain "
    "none.",
    "BOOKSTORE_API_TOKENS_FILE": "The file of access tokens for writing. Default: tokens in BOOKSTORE_DATA_DIR. See "
    "[security](security.md).",
    "BOOKSTORE_API_TOKENS": "The lines of such a file, separated by ; or newlines, instead of the file.",
    "BOOKSTORE_READ_ONLY": "on: serve without routes that write. Allowed: 1, true, yes, on, 0, false, no, off. "
    "Default: off.",
    "BOOKSTORE_DATA_DIR": "The folder of the embedded PostgreSQL and the tokens file. Default: the user's data folder; "
    "for root /var/lib/bookstore.",
    "BOOKSTORE_HOST": "The address to listen on. Default: 127.0.0.1.",
    "BOOKSTORE_PORT": "The port to listen on. Default: 8000.",
    "BOOKSTORE_METRICS_PORT": "The port of /metrics, for Prometheus. If 0 or unset, nothing is counted. See "
    "[metrics](metrics.md).",
    "BOOKSTORE_METRICS_HOST": "The address of the metrics port. Default: 127.0.0.1.",
    "BOOKSTORE_LOG_FORMAT": "json: one line per event; text: for people; auto: text at a terminal, JSON elsewhere. "
    "Default: auto. See [logs](logs.md).",
    "BOOKSTORE_LOG_LEVEL": "The minimum level: debug, info, warning or error. Default: info.",
    "BOOKSTORE_LOG_REQUESTS": "on: log every request. Default: off, which logs only rejected writes, slow statements "
    "and errors.",
    "BOOKSTORE_SLOW_STATEMENT": "The duration from which a statement is logged as slow, such as 250ms, or off. "
    "Default: 1s.",
    "BOOKSTORE_ALLOWED_HOSTS": "The host names that clients may use in the Host header, without a port, separated by "
    "commas. Default: localhost, 127.0.0.1 and [::1] on the loopback; any host name on other addresses.",
    "BOOKSTORE_RATE_LIMIT": "The requests per second that one client may send to all workers together; bursts may be "
    "twice as large. Further requests get 429. off: no limit. Default: off on the loopback, 50 on other addresses. "
    "/health is not limited.",
    "BOOKSTORE_TRUSTED_PROXIES": "The addresses or networks of the proxies in front, separated by commas. The client "
    "is then the rightmost other address in X-Forwarded-For. Default: none; the client is the peer of the connection.",
    "BOOKSTORE_CORS_ORIGINS": "The origins whose pages may read responses, such as https://example.com, separated by "
    "commas. Default: none.",
    "WEB_CONCURRENCY": "The number of workers; overrides the profile's.",
    "OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER, OTEL_…": "Where traces are sent, and which ones, as in "
    "OpenTelemetry's "
    "[specification](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). If unset, "
    "nothing is traced. See [traces](traces.md).",
    "PGPASSWORD, PGPASSFILE": "The drivers' own variables for the password, to keep it out of DATABASE_URL. Other PG… "
    "variables, GRANIAN_… and LITESTAR_DEBUG are ignored with a message, because the profile decides.",
    "BOOKSTORE_TEST_DATABASE_URL": "A server on which the tests may create databases, instead of an embedded one.",
}


def reference() -> str:
    """Return the page as Markdown."""
    return "\n".join(
        [*_head(), *_commands(), *_profile_keys(), *_workload_keys(), *_environment(), *_limits(), *_exit_codes()]
    )


def _head() -> Iterator[str]:
    yield "# Reference\n"
    yield "`make docs` generates this page from the code; a test keeps it up to date.\n"


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
    yield _row(
        "`extends`",
        "a profile's name, or a path relative to this file",
        "none",
        "The profile to inherit from, except its description.",
    )
    yield ""


def _workload_keys() -> Iterator[str]:
    workload = get_type_hints(Workload, include_extras=True)
    request, stage = get_type_hints(RequestSpec, include_extras=True), get_type_hints(Stage, include_extras=True)
    yield "## Keys of a workload\n"
    yield "| key | allowed | default | |\n|---|---|---|---|"
    for key, meaning in workload_schema.MEANINGS.items():
        is_short = key in workload_file.SHORTHAND_KEYS
        yield _row(
            f"`{key}`",
            describe_allowed((request if is_short else workload)[key]),
            workload_schema.default(key),
            meaning,
        )
    yield "\nKeys of each item of `requests`:\n"
    yield "| key | allowed | |\n|---|---|---|"
    for key, meaning in workload_schema.REQUEST_MEANINGS.items():
        yield _row(f"`{key}`", describe_allowed(request[key]), meaning)
    yield "\nKeys of each item of `stages`:\n"
    yield "| key | allowed | |\n|---|---|---|"
    for key, meaning in workload_schema.STAGE_MEANINGS.items():
        yield _row(f"`{key}`", describe_allowed(stage[key]), meaning)
    yield ""


def _environment() -> Iterator[str]:
    yield "## Environment\n"
    yield "Arguments override the environment, which overrides a profile's file.\n"
    yield "| variable | |\n|---|---|"
    for name, meaning in ENVIRONMENT.items():
        yield _row(f"`{name}`", meaning)
    yield ""


def _limits() -> Iterator[str]:
    yield "## Limits of a request\n"
    yield "| limit | maximum | if exceeded |\n|---|---|---|"
    yield _row(
        "request line and headers",
        f"{gate.LARGEST_HEAD // 1024} kB, 100 headers",
        "431 `headers_too_large`; without a body from about 110 kB on, and for more headers",
    )
    yield _row(
        "time to receive them, including idle time between requests",
        f"{server.HEADERS_WITHIN_S} s",
        "the connection is closed",
    )
    yield _row("path and query", f"{gate.LONGEST_URL // 1024} kB", "414 `uri_too_long`")
    yield _row("query parameters", str(gate.MOST_PARAMETERS), "400 `invalid_parameter`")
    yield _row("body", f"{request_body.LARGEST_BODY // 1024} kB", "413 `too_large`")
    yield _row("body of `POST /books:batch`", f"{request_body.LARGEST_BATCH // 1024**2} MB", "413 `too_large`")
    yield _row(
        "time to receive the body", f"{gate.BODY_WITHIN_S:g} s", "408 `request_timeout`, the connection is closed"
    )
    yield _row(
        "rest of a body that is still arriving after the response",
        f"{draining.LARGEST_REST // 1024**2} MB, {draining.WITHIN_S:g} s",
        "the connection is closed; within the limits, the rest is discarded, so that the client reads the response",
    )
    yield _row(
        "time until the response",
        f"the profile's pool_timeout + statement_timeout + {gate.MARGIN_S:g} s",
        "503 `deadline`",
    )
    yield _row("requests per second of a client", "`BOOKSTORE_RATE_LIMIT`", "429 `too_many_requests`")
    yield ""


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    yield "| code | |\n|---|---|"
    yield "| 0 | success |\n| 1 | an unexpected error: a bug |"
    yield "| 2 | invalid input or configuration, or a failed check; nothing was started |"
    yield "| 3 | invalid run; it is stored if at least one round is complete |"
    yield "| 99 | a threshold failed, or a contender is slower than allowed |\n| 130 | interrupted |"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    click.echo(reference())
