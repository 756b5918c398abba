"""create_app(): the one place that joins the parts."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from click import Group
from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.plugins import CLIPlugin
from litestar.routes import HTTPRoute
from sqlalchemy.orm import Session

from bookstore.auth import keyring
from bookstore.auth.keyring import Keyring
from bookstore.catalog import pagination
from bookstore.config import settings
from bookstore.config.request_policy import RequestPolicy
from bookstore.database import sqlstate
from bookstore.database import url as database_url
from bookstore.database.readiness import Readiness
from bookstore.database.unit_of_work import Database, make_database
from bookstore.http import authorization, problem_details, query_parameters
from bookstore.http.draining import Draining
from bookstore.http.gate import Gate
from bookstore.http.request_body import LARGEST_BODY
from bookstore.http.routes import api_docs
from bookstore.http.routes.authors import AuthorController, AuthorEditor
from bookstore.http.routes.books import BookController, BookEditor, create_books
from bookstore.http.routes.changes import list_changes
from bookstore.http.routes.exports import Exports
from bookstore.http.routes.genres import GenreController, GenreEditor
from bookstore.http.routes.health import HealthController
from bookstore.http.routes.index import index
from bookstore.http.routes.problems import problems
from bookstore.observability import logs, tracing
from bookstore.observability.metrics import pool, requests, runtime, shared_memory
from bookstore.observability.metrics.block import Block
from bookstore.observability.request_log import RequestLog
from bookstore.observability.slow_statements import log_slow_statements
from bookstore.profile import loader

if TYPE_CHECKING:
    from bookstore.observability.request_spans import Spans

logger = logging.getLogger("bookstore")

OPEN_POLICY: Final = RequestPolicy()
"""Any host and origin-less client, at any rate: where no environment says otherwise."""
NO_TOKENS: Final = Keyring()
"""No token: everybody reads, nobody writes."""

READ_HANDLERS: Final = (BookController, AuthorController, GenreController)
READ_WRITE_HANDLERS: Final = (BookEditor, create_books, AuthorEditor, GenreEditor)
"""A read-only service has the first ones; the others read and write."""

GC_THRESHOLDS = (10_000, 10, 10)
"""New objects before a collection of the youngest generation (700 in CPython 3.11), and collections of one generation
before one of the next. A pause grows with the cycles that are freed at once: when statements are compiled, 50,000
objects took up to 75 ms of CPU, 10,000 take 8 (CPython 3.11, two busy cores)."""


def create_app() -> Litestar:
    """The service under the profile and on the database that the environment names.

    A factory for `bookstore serve`, `granian --factory bookstore.app:create_app` and `litestar --app`. Raises
    ConfigurationError for a profile, a database or tokens that cannot be used. The pool is opened later, when the
    worker starts; the embedded PostgreSQL, where DATABASE_URL is unset, is started and migrated here.
    """
    found = settings.read()
    chosen = loader.with_workers(loader.load(found.profile), found.workers)
    logs.configure(found, chosen.name)
    if strangers := settings.remove_interfering_variables():
        logger.warning(
            "set in the environment, not in the profile: %s; `bookstore serve` starts the service as the profile says",
            ", ".join(strangers),
        )
    url = database_url.resolve(found)
    if found.database_url is None:
        from bookstore.database import migrations  # noqa: PLC0415 - `bookstore serve` did it: its workers need no Alembic

        migrations.prepare_embedded(url)
    known = keyring.read(found)
    block = shared_memory.claim()
    if found.metrics_port and block is None and shared_memory.BLOCKS_VARIABLE not in os.environ:
        logger.warning("BOOKSTORE_METRICS_PORT: nothing is counted: this worker was not started by `bookstore serve`")
    database = make_database(chosen, url) if block is None else pool.make_database(chosen, url, block)
    spans = None
    if tracing.is_enabled():
        from bookstore.observability.request_spans import Spans  # noqa: PLC0415 - OpenTelemetry is optional, and large

        spans = Spans(tracing.make_provider(chosen))
    return make_app(
        database,
        found.request_policy,
        known,
        read_only=found.read_only,
        block=block,
        log_requests=found.log_requests,
        slow_statement_s=found.slow_statement_s,
        spans=spans,
    )


def make_app(
    database: Database,
    policy: RequestPolicy = OPEN_POLICY,
    known: Keyring = NO_TOKENS,
    *,
    read_only: bool = False,
    block: Block | None = None,
    log_requests: bool = False,
    slow_statement_s: float | None = None,
    spans: Spans | None = None,
) -> Litestar:
    """The service on `database`, which is started and stopped with it, behind a gate with `policy`, for
    the tokens in `known`. With a `block` it counts there what it does; with `log_requests` each request is logged, and
    so is each statement that takes `slow_statement_s`; with `spans` all of it is traced."""

    @asynccontextmanager
    async def exporting(_: Litestar) -> AsyncIterator[None]:
        async with tracing.exporting(spans.provider) if spans else nullcontext():
            yield

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await _warm(database)
        if database.profile.gc == "freeze":
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
        try:
            async with (
                runtime.sample_runtime(block, database.pool) if block else nullcontext(),
                nullcontext() if slow_statement_s is None else log_slow_statements(database, slow_statement_s),
            ):
                yield
        finally:
            await database.stop()

    def provide_database() -> Database:
        return database

    readiness = Readiness(database)

    def provide_readiness() -> Readiness:
        return readiness

    app = Litestar.from_config(
        AppConfig(
            route_handlers=[
                *(READ_HANDLERS if read_only else READ_WRITE_HANDLERS),
                *(list_changes, HealthController, index, problems),
            ],
            guards=[authorization.guard(known, policy.proxies)],
            plugins=[_ServeCommand()],
            dependencies={
                "database": Provide(provide_database, sync_to_thread=False),
                "readiness": Provide(provide_readiness, sync_to_thread=False),
            },
            state=State({"exports": Exports()}),
            lifespan=[exporting, lifespan],
            before_request=query_parameters.check,
            after_request=requests.time_encoding(block) if block else None,
            after_exception=[spans.record_error] if spans else [],
            exception_handlers={Exception: problem_details.exception_response},
            openapi_config=api_docs.config(),
            logging_config=None,  # logs.py has all of it
            debug=False,  # not LITESTAR_DEBUG's: its page shows sources and variables
            request_max_body_size=LARGEST_BODY,
        )
    )
    _complete_options(app)
    # Around all of it: middleware of Litestar's sees neither unknown paths nor wrong methods.
    app.asgi_handler = Gate(app.asgi_handler, database.profile, policy)
    if block:
        app.asgi_handler = requests.RequestMetrics(app.asgi_handler, block)
    if log_requests:
        app.asgi_handler = RequestLog(app.asgi_handler, policy.proxies)
    if spans:
        spans.instrument(database)
        app.asgi_handler = spans.wrap(app.asgi_handler)
    # Outermost: the duration of a request ends with its response.
    app.asgi_handler = Draining(app.asgi_handler)
    return app


def _complete_options(app: Litestar) -> None:
    """Litestar makes a path's OPTIONS when the first of its handlers comes, and keeps it: Allow would name
    that one's method alone."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            old, model = route.route_handler_map["OPTIONS"]
            whole = route.create_options_handler(route.path)
            whole.owner = old.owner
            whole.on_registration(app)
            route.route_handler_map["OPTIONS"] = (whole, model)


class _ServeCommand(CLIPlugin):
    """Makes `litestar --app bookstore.app:create_app run` what `bookstore serve` is: under the profile."""

    def on_cli_init(self, cli: Group) -> None:
        from bookstore.cli.commands.serve import serve  # noqa: PLC0415 - workers need no commands

        cli.add_command(serve, name="run")


async def _warm(database: Database) -> None:
    """Fill the pool and read the key of cursors, so that no request executes more statements than others.

    A database that is down does not stop a worker: /health/ready says so, and requests get 503 until it is back.
    """

    def read_key(session: Session) -> None:
        pagination.signing_key(session)

    try:
        await database.start()
        await database.probe(read_key)
    except Exception as error:
        cause = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        if not (known := sqlstate.server_problem(cause)):
            raise
        logger.warning("started without the database: %s (%s)", known[1], sqlstate.reason(cause))
