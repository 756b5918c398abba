"""`bookstore serve`: the service under a profile."""

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
@click.option("--host", help="Address to listen on  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on  [default: 8000]")
@click.option("--over-budget", is_flag=True, help="Serve even if the connections may run out.")
@click.option("--read-only", is_flag=True, help="Have no routes that write.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Port for Prometheus's scraper  [default: none]")
def serve(
    spec: str | None,
    host: str | None,
    port: int | None,
    over_budget: bool,
    read_only: bool,
    metrics_port: int | None,
) -> None:
    """Serve the catalogue under an engine profile.

    Arguments go over the environment (BOOKSTORE_PROFILE, BOOKSTORE_HOST, BOOKSTORE_PORT, WEB_CONCURRENCY,
    BOOKSTORE_READ_ONLY, BOOKSTORE_METRICS_PORT, DATABASE_URL), and that over the profile's file. Stop with Ctrl-C.
    """
    # granian and http.server are not needed by the other commands
    from bookstore.http import server  # noqa: PLC0415
    from bookstore.observability.metrics.port import served  # noqa: PLC0415

    found = settings.read()
    chosen = loader.with_workers(loader.load(spec or found.profile), found.workers)
    logs.configure(found, chosen.name)
    if found.workers:
        logger.info("WEB_CONCURRENCY=%s goes over the profile's workers", found.workers)
    host, port = host or found.host, port or found.port
    read_only = read_only or found.read_only
    keyring.check_writers(found, host, read_only=read_only)
    is_traced = tracing.is_asked()
    metrics_port = found.metrics_port if metrics_port is None else metrics_port
    server.check_ports(host, port, found.metrics_host, metrics_port)
    if ignored := settings.shed_interfering():
        logger.warning("ignored, the profile decides: %s", ", ".join(ignored))
    database_url.check_pooler(found, chosen)
    url = database_url.resolve(found)
    answering = preflight.probe(url)
    for remark in preflight.check_pooler(chosen, answering):
        logger.warning("%s", remark)
    if not over_budget:
        preflight.check_budget(chosen, answering)
    revision = _prepare_schema(found)
    os.environ["BOOKSTORE_PROFILE"] = spec or found.profile
    os.environ["BOOKSTORE_HOST"] = host  # the workers' gate asks whether it is the loopback
    os.environ["BOOKSTORE_READ_ONLY"] = "on" if read_only else "off"
    os.environ["BOOKSTORE_METRICS_PORT"] = str(metrics_port or 0)  # or workers would miss what --metrics-port 0 ended
    if found.database_url is None:
        os.environ["DATABASE_URL"] = database_url.conninfo(url)
        os.environ.pop("DATABASE_PASSWORD_FILE", None)  # the embedded one's has none
    where = database_url.server(url)
    about = {
        "version": version("bookstore"),
        "driver": chosen.driver,
        "pool": chosen.pool,
        "pool_size": chosen.pool_size,
        "max_overflow": chosen.max_overflow,
        "workers": chosen.workers,
        "database": where,
        "schema_revision": revision,
        "traces": "on" if is_traced else "off",
        "address": f"{host}:{port}",
    }
    logger.info("profile %s, database %s", chosen.name, where, extra=about)
    with ExitStack() as stack:
        stack.enter_context(rate_limit.shared_table())
        if metrics_port:
            stack.enter_context(served(chosen, found.metrics_host, metrics_port, revision))
        server.serve(chosen, host, port, logs.GRANIAN)


def _prepare_schema(found: Settings) -> str | None:
    """The revision of the schema, None where there is none. The embedded database is ours alone and is migrated; of
    another one we only say what it needs."""
    url = database_url.psycopg_url(found)
    if found.database_url is None:
        migrations.prepare_embedded(url)
        return models.SCHEMA_REVISION
    at = migrations.current(url)
    if at != models.SCHEMA_REVISION:
        logger.warning(
            "the database's schema is at %s, this version needs %s: run bookstore db upgrade; until then "
            "/health/ready answers 503",
            *(at, models.SCHEMA_REVISION),
        )
    return at
