"""The commands. stdout is data, stderr is talk; a refusal ends with exit code 2, a bug with 1."""

from __future__ import annotations

import os
import sys

import click

from bookstore.cli.db import db
from bookstore.cli.profiles import profiles
from bookstore.cli.serve import serve
from bookstore.refusal import EXIT_REFUSED, Refused

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(package_name="bookstore")
def bookstore() -> None:
    """A bookstore service under any engine profile, and the lab that compares them."""


for command in (serve, profiles, db):
    bookstore.add_command(command)


def main() -> None:
    """The `bookstore` command. Refusals become one message and exit code 2, never a traceback."""
    try:
        sys.exit(bookstore.main(standalone_mode=False))
    except Refused as refusal:
        click.echo(f"bookstore: {refusal}", err=True)
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
