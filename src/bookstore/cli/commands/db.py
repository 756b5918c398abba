"""`bookstore db`: schema migrations and the embedded PostgreSQL."""

from __future__ import annotations

import click

from bookstore.catalog import models
from bookstore.config import settings
from bookstore.database import migrations
from bookstore.database import url as database_url
from bookstore.exceptions import ConfigurationError


@click.group()
def db() -> None:
    """Migrate the database, and control the embedded PostgreSQL."""


@db.command()
@click.argument("revision", default="head")
@click.option(
    "--wait",
    "within_s",
    type=click.IntRange(1, 3600),
    is_flag=False,
    flag_value=60,
    help="Wait for the database, at most this many seconds.  [60 without a number]",
)
def upgrade(revision: str, within_s: int | None) -> None:
    """Migrate up to REVISION (default: the newest)."""
    url = database_url.psycopg_url()
    if within_s:
        migrations.wait(url, within_s, lambda reason: click.echo(f"waiting for the database: {reason}", err=True))
    migrations.upgrade(url, revision)
    click.echo(migrations.current(url) or "base")


@db.command()
@click.argument("revision")
def downgrade(revision: str) -> None:
    """Migrate down to REVISION. `base` drops all tables with their data."""
    url = database_url.psycopg_url()
    migrations.downgrade(url, revision)
    click.echo(migrations.current(url) or "base")


@db.command()
def current() -> None:
    """Print the database's schema revision and the newest one."""
    revision = migrations.current(database_url.psycopg_url())
    click.echo(f"{revision or 'base'} (newest: {models.SCHEMA_REVISION})")


@db.command()
def check() -> None:
    """Check that the tables match the models. Exit with code 2 if they differ."""
    url = database_url.psycopg_url()
    revision = migrations.current(url)
    if revision != models.SCHEMA_REVISION:
        raise ConfigurationError(
            f"the schema is at {revision or 'base'}, the newest is {models.SCHEMA_REVISION}: run bookstore db upgrade"
        )
    if differences := migrations.differences(url):
        raise ConfigurationError(differences)
    click.echo("the tables match the models")


@db.command()
def status() -> None:
    """Show the database in use and the embedded PostgreSQL's state."""
    configured = settings.read()
    if configured.database_url:
        click.echo(f"DATABASE_URL: {database_url.location(database_url.parse(configured.database_url))}")
    cluster = database_url.embedded_cluster(configured)
    pid = cluster.pid()
    click.echo(f"embedded: {f'running, pid {pid}' if pid else 'not running'}, in {cluster.folder}")


@db.command()
def url() -> None:
    """Print the database URL without its password. Start the embedded PostgreSQL if needed."""
    resolved = database_url.resolve(settings.read())
    click.echo(resolved.render_as_string(hide_password=True))


@db.command()
def stop() -> None:
    """Stop the embedded PostgreSQL; its data stays."""
    cluster = database_url.embedded_cluster(settings.read())
    click.echo("stopped" if cluster.stop() else "was not running")
