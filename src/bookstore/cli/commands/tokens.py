"""`bookstore tokens`: who may write."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import click

from bookstore.auth import keyring, token_file
from bookstore.auth import tokens as kinds
from bookstore.config import settings
from bookstore.config.settings import Settings
from bookstore.exceptions import ConfigurationError

_file = click.option(
    "--file", "path", type=click.Path(path_type=Path), help="The tokens file  [default: the one that serve reads]"
)


@click.group()
def tokens() -> None:
    """Make, list and revoke the tokens that may write.

    The file keeps digests only. It is the one of BOOKSTORE_API_TOKENS_FILE, else `tokens` in the data folder
    (BOOKSTORE_DATA_DIR). A service that runs takes a change at once.
    """


@tokens.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(kinds.SCOPES),
    multiple=True,
    required=True,
    help="What it may do; admin may do all.",
)
@_file
def create(name: str, scopes: tuple[str, ...], path: Path | None) -> None:
    """Make the token NAME and print it, this once."""
    found = settings.read()
    where = path or _served(found)
    presented, token = kinds.make(name, scopes, datetime.now(UTC).date())
    token_file.add(where, token)
    click.echo(presented)
    click.echo(f"{where}: added {name} ({', '.join(token.scopes)}); the token is shown only now", err=True)
    if found.api_tokens or where.absolute() != keyring.file(found):
        click.echo(
            f"for bookstore serve, set BOOKSTORE_API_TOKENS_FILE={shlex.quote(str(where.absolute()))}"
            + (" and unset BOOKSTORE_API_TOKENS" if found.api_tokens else ""),
            err=True,
        )


@tokens.command("list")
@_file
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: Path | None, as_json: bool) -> None:
    """List the tokens: name, scopes, day of creation."""
    found = settings.read()
    if path:
        found = Settings(data_dir=found.data_dir, api_tokens_file=path)
    every = keyring.read(found).accepted()
    if as_json:
        click.echo(json.dumps([{"name": one.name, "scopes": one.scopes, "created": _day(one)} for one in every]))
        return
    if not every:
        click.echo(f"no tokens in {keyring.file(found)}", err=True)
        return
    rows = [("name", "scopes", "created"), *((one.name, ",".join(one.scopes), _day(one) or "") for one in every)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@tokens.command()
@click.argument("name")
@_file
def revoke(name: str, path: Path | None) -> None:
    """Take the token NAME out of the file."""
    where = path or _served(settings.read())
    token_file.revoke(where, name)
    click.echo(f"{where}: revoked {name}", err=True)


def _served(found: Settings) -> Path:
    """The file that serve reads. Raises ConfigurationError where the tokens stand in the environment."""
    if found.api_tokens:
        raise ConfigurationError(
            "BOOKSTORE_API_TOKENS is set, so serve reads no file: change the variable, or name a --file"
        )
    return keyring.file(found)


def _day(one: kinds.Token) -> str | None:
    return str(one.created) if one.created else None
