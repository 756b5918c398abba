"""Logs slow statements with the hash of their plan.

A fast statement costs two clock reads. The plan of a slow one is requested after its unit of work, once a minute for
each text, over a pool connection that is free at that moment, so it adds no connection to the budget.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar, copy_context
from functools import partial
from time import monotonic, perf_counter
from typing import Any, Final

from sqlalchemy.orm import Session

from bookstore.database import sqlstate
from bookstore.database.unit_of_work import Database
from bookstore.observability import query_plan

logger = logging.getLogger("bookstore.statement")

EXPLAIN_EVERY_S: Final = 60.0
"""How long a statement's plan is reused before it is requested again."""
PLAN_TIMEOUT_S: Final = 2.0
"""How long to wait for a plan, including the wait for a free connection."""
_POLL_S: Final = 0.05
_MAX_TEXTS: Final = 256
_LONGEST_SHOWN: Final = 2000
_METHODS: Final = ("do_execute", "do_execute_no_params", "do_executemany")
_IS_OURS: Final[ContextVar[bool]] = ContextVar("IS_OURS", default=False)

Plan = asyncio.Task[str | None]


@asynccontextmanager
async def log_slow_statements(database: Database, longest_s: float) -> AsyncIterator[None]:
    """Log each statement of `database` that takes `longest_s` or longer while the `async with` block runs."""
    slow = _SlowStatements(database, longest_s)
    dialect: Any = database.engine.dialect
    methods = {name: getattr(dialect, name) for name in _METHODS}
    for name, send in methods.items():
        setattr(dialect, name, slow.time_statement(send))
    try:
        yield
    finally:
        for name, send in methods.items():
            setattr(dialect, name, send)
        await slow.stop()


class _SlowStatements:
    def __init__(self, database: Database, longest_s: float) -> None:
        self._database = database
        self._longest_s = longest_s
        self._paramstyle = database.engine.dialect.paramstyle
        self._loop = asyncio.get_running_loop()
        self._plans: dict[str, tuple[float, Plan]] = {}

    def time_statement(self, send: Callable[..., None]) -> Callable[..., None]:
        """Wrap `send` of SQLAlchemy's dialect with a timer. SQLAlchemy's events around statements are expensive."""

        def execute(cursor: Any, statement: str, *arguments: Any, **options: Any) -> None:
            began_s = perf_counter()
            try:
                send(cursor, statement, *arguments, **options)
            except BaseException:
                if (took_s := perf_counter() - began_s) >= self._longest_s:
                    self._report(statement, took_s, {"failed": True})
                raise
            if (took_s := perf_counter() - began_s) >= self._longest_s:
                self._report(statement, took_s, {"rows": cursor.rowcount} if cursor.rowcount >= 0 else {})

        return execute

    async def stop(self) -> None:
        """Cancel all pending plans."""
        plans = [plan for _, plan in self._plans.values()]
        for plan in plans:
            plan.cancel()
        await asyncio.gather(*plans, return_exceptions=True)

    def _report(self, statement: str, took_s: float, details: dict[str, Any]) -> None:
        """Schedule the log line. Runs where the statement was sent: in a thread, or in a greenlet of the event loop."""
        if not _IS_OURS.get():
            line = {"duration_ms": round(took_s * 1000, 3), **details}
            self._loop.call_soon_threadsafe(self._log_with_plan, statement, line, copy_context())

    def _log_with_plan(self, statement: str, line: dict[str, Any], context: Context) -> None:
        numbered = query_plan.number_parameters(statement, self._paramstyle)
        text = query_plan.normalise(numbered)
        requested_s, plan = self._plans.get(text, (0.0, None))
        if plan is None or monotonic() - requested_s > EXPLAIN_EVERY_S:
            # Not in the request's context, whose statements are counted.
            plan = self._loop.create_task(self._plan_hash(numbered), context=Context())
            self._plans.pop(text, None)
            self._plans[text] = (monotonic(), plan)
            if len(self._plans) > _MAX_TEXTS:
                self._plans.pop(next(iter(self._plans)))[1].cancel()
        line["statement_hash"] = query_plan.text_hash(text)
        line["statement"] = text[:_LONGEST_SHOWN]
        plan.add_done_callback(partial(_log, line), context=context)

    async def _plan_hash(self, statement: str) -> str | None:
        if not query_plan.is_explainable(statement):
            return None
        _IS_OURS.set(True)

        def work(session: Session) -> str:
            return query_plan.explain(session, statement)

        try:
            async with asyncio.timeout(PLAN_TIMEOUT_S):
                while self._database.is_full:  # noqa: ASYNC110 - there is no event for that
                    await asyncio.sleep(_POLL_S)
                return query_plan.shape_hash(await self._database.probe(work, reading=False))
        except Exception as error:  # noqa: BLE001 - the slow statement is logged without its plan
            logger.debug("no plan: %s", sqlstate.reason(error))
            return None


def _log(line: dict[str, Any], plan: Plan) -> None:
    if not plan.cancelled() and (plan_hash := plan.result()):
        line = {**line, "plan_hash": plan_hash}
    logger.warning("slow statement", extra=line)
