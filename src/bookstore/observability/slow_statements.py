"""Logs the statements that took long, with the hash of their plan.

A fast statement costs two looks at the clock. The plan of a slow one is asked for after its unit of work, once a
minute for each text, over a connection of the pool that nobody needs just then: it adds no connection to the budget.
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
"""How long the plan of a statement is taken for the one that it has."""
PLAN_TIMEOUT_S: Final = 2.0
"""How long a plan is waited for: for a free connection, and for PostgreSQL."""
_POLL_S: Final = 0.05
_MAX_TEXTS: Final = 256
_LONGEST_SHOWN: Final = 2000
_METHODS: Final = ("do_execute", "do_execute_no_params", "do_executemany")
_IS_OURS: Final[ContextVar[bool]] = ContextVar("IS_OURS", default=False)

Plan = asyncio.Task[str | None]


@asynccontextmanager
async def log_slow_statements(database: Database, longest_s: float) -> AsyncIterator[None]:
    """Logs each statement of `database` that takes `longest_s` or more, within the block."""
    slow = _SlowStatements(database, longest_s)
    dialect: Any = database.engine.dialect
    before = {name: getattr(dialect, name) for name in _METHODS}
    for name, send in before.items():
        setattr(dialect, name, slow.timed(send))
    try:
        yield
    finally:
        for name, send in before.items():
            setattr(dialect, name, send)
        await slow.stop()


class _SlowStatements:
    def __init__(self, database: Database, longest_s: float) -> None:
        self._database = database
        self._longest_s = longest_s
        self._paramstyle = database.engine.dialect.paramstyle
        self._loop = asyncio.get_running_loop()
        self._plans: dict[str, tuple[float, Plan]] = {}

    def timed(self, send: Callable[..., None]) -> Callable[..., None]:
        """`send` of SQLAlchemy's dialect, timed: its events around a statement are dear."""

        def execute(cursor: Any, statement: str, *arguments: Any, **options: Any) -> None:
            began_s = perf_counter()
            try:
                send(cursor, statement, *arguments, **options)
            except BaseException:
                if (took_s := perf_counter() - began_s) >= self._longest_s:
                    self._note(statement, took_s, {"failed": True})
                raise
            if (took_s := perf_counter() - began_s) >= self._longest_s:
                self._note(statement, took_s, {"rows": cursor.rowcount} if cursor.rowcount >= 0 else {})

        return execute

    async def stop(self) -> None:
        """Waits for no plan any longer."""
        plans = [plan for _, plan in self._plans.values()]
        for plan in plans:
            plan.cancel()
        await asyncio.gather(*plans, return_exceptions=True)

    def _note(self, statement: str, took_s: float, about: dict[str, Any]) -> None:
        """Called where the statement was sent: in a thread, or in a greenlet of the event loop."""
        if not _IS_OURS.get():
            line = {"duration_ms": round(took_s * 1000, 3), **about}
            self._loop.call_soon_threadsafe(self._ask, statement, line, copy_context())

    def _ask(self, statement: str, line: dict[str, Any], context: Context) -> None:
        numbered = query_plan.number_parameters(statement, self._paramstyle)
        text = query_plan.normalise(numbered)
        asked_s, plan = self._plans.get(text, (0.0, None))
        if plan is None or monotonic() - asked_s > EXPLAIN_EVERY_S:
            # Not in the request's context: that one's statements are counted.
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
                while self._database.is_full:  # noqa: ASYNC110 - nobody tells when it is not
                    await asyncio.sleep(_POLL_S)
                return query_plan.shape_hash(await self._database.probe(work, reading=False))
        except Exception as error:  # noqa: BLE001 - whatever it is: the slow statement is told all the same
            logger.debug("no plan: %s", sqlstate.reason(error))
            return None


def _log(line: dict[str, Any], plan: Plan) -> None:
    if not plan.cancelled() and (found := plan.result()):
        line = {**line, "plan_hash": found}
    logger.warning("slow statement", extra=line)
