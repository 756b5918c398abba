"""`bookstore tokens`: create, list and revoke access tokens."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import click

from bookstore.auth import keyring, token_file
from bookstore.auth import tokens as access_tokens
from bookstore.config import settings
from bookstore.config.settings import Settings
from bookstore.exceptions import ConfigurationError

_file_option = click.option(
    "--file", "path", type=click.Path(path_type=Path), help="Tokens file.  [default: the file that serve reads]"
)


@click.group()
def tokens() -> None:
    """Create, list and revoke access tokens for writing.

    The tokens file contains digests only. It is BOOKSTORE_API_TOKENS_FILE, or else `tokens` in the data folder
    (BOOKSTORE_DATA_DIR). A running service applies a change at once.
    """


@tokens.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(access_tokens.SCOPES),
    multiple=True,
    required=True,
    help="Permission of the token; admin includes all others.",
)
@_file_option
def create(name: str, scopes: tuple[str, ...], path: Path | None) -> None:
    """Create the token NAME and print it. It is shown only once."""
    configured = settings.read()
    file = path or _serve_tokens_file(configured)
    presented, token = access_tokens.create(name, scopes, datetime.now(UTC).date())
    token_file.add(file, token)
    click.echo(presented)
    click.echo(f"{file}: added {name} ({', '.join(token.scopes)}); the token is not shown again", err=True)
    if configured.api_tokens or file.absolute() != keyring.tokens_path(configured):
        click.echo(
            f"for bookstore serve, set BOOKSTORE_API_TOKENS_FILE={shlex.quote(str(file.absolute()))}"
            + (" and unset BOOKSTORE_API_TOKENS" if configured.api_tokens else ""),
            err=True,
        )


@tokens.command("list")
@_file_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: Path | None, as_json: bool) -> None:
    """List the tokens with name, scopes and creation date."""
    configured = settings.read()
    if path:
        configured = Settings(data_dir=configured.data_dir, api_tokens_file=path)
    tokens = keyring.read(configured).tokens()
    if as_json:
        fields = [{"name": token.name, "scopes": token.scopes, "created": _creation_date(token)} for token in tokens]
        click.echo(json.dumps(fields))
        return
    if not tokens:
        click.echo(f"no tokens in {keyring.tokens_path(configured)}", err=True)
        return
    rows = [("name", "scopes", "created")]
    rows += [(token.name, ",".join(token.scopes), _creation_date(token) or "") for token in tokens]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@tokens.command()
@click.argument("name")
@_file_option
def revoke(name: str, path: Path | None) -> None:
    """Revoke the token NAME by removing it from the file."""
    file = path or _serve_tokens_file(settings.read())
    token_file.revoke(file, name)
    click.echo(f"{file}: revoked {name}", err=True)


def _serve_tokens_file(configured: Settings) -> Path:
    """Return the file that serve reads. Raises ConfigurationError if the tokens are in the environment."""
    if configured.api_tokens:
        raise ConfigurationError(
            "BOOKSTORE_API_TOKENS is set, so serve reads no file; change the variable, or choose a --file"
        )
    return keyring.tokens_path(configured)


def _creation_date(token: access_tokens.Token) -> str | None:
    return str(token.created) if token.created else None
