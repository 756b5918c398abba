"""`bookstore serve`: run the service under an engine profile."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from importlib.metadata import version

import click

from bookstore.auth import keyring
from bookstore.catalog import models
from bookstore.config import settings
from bookstore.config.settings import Settings
from bookstore.database import migrations, preflight
from bookstore.database import url as database_url
from bookstore.http import rate_limit
from bookstore.observability import logs, tracing
from bookstore.profile import loader

logger = logging.getLogger("bookstore")


@click.command()
@click.option("--profile", "-p", "spec", help="Engine profile: NAME, FILE or NAME@key=value,…")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.  [default: 8000]")
@click.option("--over-budget", is_flag=True, help="Start even if the connection budget is exceeded.")
@click.option("--read-only", is_flag=True, help="Serve without routes that write.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Port of /metrics for Prometheus.  [default: none]")
def serve(
    spec: str | None,
    host: str | None,
    port: int | None,
    over_budget: bool,
    read_only: bool,
    metrics_port: int | None,
) -> None:
    """Serve the catalogue under an engine profile.

    Arguments override the environment (BOOKSTORE_PROFILE, BOOKSTORE_HOST, BOOKSTORE_PORT, WEB_CONCURRENCY,
    BOOKSTORE_READ_ONLY, BOOKSTORE_METRICS_PORT, DATABASE_URL), which overrides the profile's file. Stop with Ctrl-C.
    """
    # imported here because `bookstore --help` and `litestar run` import this module, too
    from bookstore.http import server  # noqa: PLC0415
    from bookstore.observability.metrics.port import serve_metrics  # noqa: PLC0415

    configured = settings.read()
    profile = loader.with_workers(loader.load(spec or configured.profile), configured.workers)
    logs.configure(configured, profile.name)
    if configured.workers:
        logger.info("WEB_CONCURRENCY=%s overrides the profile's workers", configured.workers)
    host, port = host or configured.host, port or configured.port
    read_only = read_only or configured.read_only
    keyring.check_writers(configured, host, read_only=read_only)
    is_traced = tracing.is_enabled()
    metrics_port = configured.metrics_port if metrics_port is None else metrics_port
    server.check_ports(host, port, configured.metrics_host, metrics_port)
    if ignored := settings.remove_interfering_variables():
        logger.warning("ignored environment variables (the profile decides): %s", ", ".join(ignored))
    database_url.check_pooler(configured, profile)
    url = database_url.resolve(configured)
    probe = preflight.probe(url)
    for remark in preflight.check_pooler(profile, probe):
        logger.warning("%s", remark)
    if not over_budget:
        preflight.check_budget(profile, probe)
    revision = _prepare_schema(configured)
    os.environ["BOOKSTORE_PROFILE"] = spec or configured.profile
    os.environ["BOOKSTORE_HOST"] = host  # the gate in the workers applies loopback defaults
    os.environ["BOOKSTORE_READ_ONLY"] = "on" if read_only else "off"
    os.environ["BOOKSTORE_METRICS_PORT"] = str(metrics_port or 0)  # workers must also see --metrics-port 0
    if configured.database_url is None:
        os.environ["DATABASE_URL"] = database_url.conninfo(url)
        os.environ.pop("DATABASE_PASSWORD_FILE", None)  # the embedded PostgreSQL has no password
    server_name = database_url.location(url)
    facts = {
        "version": version("bookstore"),
        "driver": profile.driver,
        "pool": profile.pool,
        "pool_size": profile.pool_size,
        "max_overflow": profile.max_overflow,
        "workers": profile.workers,
        "database": server_name,
        "schema_revision": revision,
        "traces": "on" if is_traced else "off",
        "address": f"{host}:{port}",
    }
    logger.info("profile %s, database %s", profile.name, server_name, extra=facts)
    with ExitStack() as stack:
        stack.enter_context(rate_limit.shared_table())
        if metrics_port:
            stack.enter_context(serve_metrics(profile, configured.metrics_host, metrics_port, revision))
        server.serve(profile, host, port, logs.GRANIAN)


def _prepare_schema(configured: Settings) -> str | None:
    """Return the schema's revision, None without one. The embedded database is migrated; for any other database, an
    old schema only logs a warning."""
    url = database_url.psycopg_url(configured)
    if configured.database_url is None:
        migrations.prepare_embedded(url)
        return models.SCHEMA_REVISION
    revision = migrations.current(url)
    if revision != models.SCHEMA_REVISION:
        logger.warning(
            "the database's schema is at %s, this version needs %s: run bookstore db upgrade; until then "
            "/health/ready returns 503",
            *(revision, models.SCHEMA_REVISION),
        )
    return revision
