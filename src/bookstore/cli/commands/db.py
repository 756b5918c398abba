"""`bookstore db`: the schema, and the embedded PostgreSQL."""

from __future__ import annotations

import click

from bookstore.catalog import models
from bookstore.config import settings
from bookstore.database import migrations
from bookstore.database import url as database_url
from bookstore.exceptions import ConfigurationError


@click.group()
def db() -> None:
    """Migrate the database; look at or stop the embedded one."""


@db.command()
@click.argument("revision", default="head")
@click.option(
    "--wait",
    "within_s",
    type=click.IntRange(1, 3600),
    is_flag=False,
    flag_value=60,
    help="Wait for the database, so many seconds at most  [60 without a number]",
)
def upgrade(revision: str, within_s: int | None) -> None:
    """Migrate up to REVISION (default: the newest)."""
    url = database_url.psycopg_url()
    if within_s:
        migrations.wait(url, within_s, lambda reason: click.echo(f"waiting: {reason}", err=True))
    migrations.upgrade(url, revision)
    click.echo(migrations.current(url) or "base")


@db.command()
@click.argument("revision")
def downgrade(revision: str) -> None:
    """Migrate down to REVISION; `base` takes all tables away, with what is in them."""
    url = database_url.psycopg_url()
    migrations.downgrade(url, revision)
    click.echo(migrations.current(url) or "base")


@db.command()
def current() -> None:
    """Print the revision the database is at, and the newest one."""
    at = migrations.current(database_url.psycopg_url())
    click.echo(f"{at or 'base'} (newest: {models.SCHEMA_REVISION})")


@db.command()
def check() -> None:
    """Check that the tables are what the models say; exit code 2 where they differ."""
    url = database_url.psycopg_url()
    at = migrations.current(url)
    if at != models.SCHEMA_REVISION:
        raise ConfigurationError(
            f"the schema is at {at or 'base'}, the newest is {models.SCHEMA_REVISION}: bookstore db upgrade"
        )
    if differences := migrations.differences(url):
        raise ConfigurationError(differences)
    click.echo("tables and models agree")


@db.command()
def status() -> None:
    """Say which database is used and whether the embedded one runs."""
    found = settings.read()
    if found.database_url:
        click.echo(f"DATABASE_URL: {database_url.server(database_url.parse(found.database_url))}")
    cluster = database_url.embedded(found)
    pid = cluster.pid()
    click.echo(f"embedded: {f'runs, pid {pid}' if pid else 'does not run'}, in {cluster.folder}")


@db.command()
def url() -> None:
    """Print the URL of the embedded database, started if need be; with DATABASE_URL set, without secrets."""
    found = database_url.resolve(settings.read())
    click.echo(found.render_as_string(hide_password=True))


@db.command()
def stop() -> None:
    """Stop the embedded PostgreSQL; its data stays."""
    cluster = database_url.embedded(settings.read())
    click.echo("stopped" if cluster.stop() else "did not run")
