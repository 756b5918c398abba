"""Statistics of a service's sessions and statements from PostgreSQL: one query per poll, with a time limit.

psycopg's own calls wait as long as the server takes. This module uses libpq through psycopg: it sends the query, and
reads the result if it arrives in time. A server that hangs therefore makes gaps and delays no other figure.
"""

from __future__ import annotations

import select
import time
from collections.abc import Mapping, Sequence
from typing import Final

import psycopg
from psycopg.pq import ExecStatus

APPLICATION_NAME: Final = "bookstore-lab"
"""application_name of the lab's own sessions, which are not counted."""

# pg_stat_activity has each session's current state and wait. `ours` is true for the contender's sessions.
_SESSIONS: Final = """
    SELECT
        count(*) FILTER (WHERE ours AND state = 'active') AS sessions_active,
        count(*) FILTER (WHERE ours AND state = 'idle') AS sessions_idle,
        count(*) FILTER (WHERE ours AND state LIKE 'idle in transaction%') AS sessions_idle_in_transaction,
        count(*) FILTER (WHERE ours AND (state IN ('active', 'idle') OR state LIKE 'idle in transaction%') IS NOT TRUE)
            AS sessions_other,
        count(*) FILTER (WHERE ours AND state = 'active' AND wait_event_type <> 'Client') AS sessions_waiting,
        count(*) FILTER (WHERE NOT ours) AS sessions_foreign,
        count(*) FILTER (WHERE ours) AS connections,
        current_setting('max_connections')::int AS max_connections
    FROM (
        SELECT state, wait_event_type, CASE
            WHEN $3::boolean
                THEN application_name LIKE 'bookstore/%' AND split_part(application_name, '/', 3) = ANY ($1::text[])
            ELSE datname IS NOT DISTINCT FROM $2::text
        END AS ours
        FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND application_name <> 'bookstore-lab'
    ) AS session
"""

_DATABASE: Final = """
    SELECT xact_commit AS commits, xact_rollback AS rollbacks, blks_hit AS hits, blks_hit + blks_read AS blocks
    FROM pg_stat_database WHERE datname = $2
"""

# Query texts are omitted: they are in a file, which would be read for each poll. Statements of a dropped database keep
# its old oid, so a database restored under the same name starts at zero.
_STATEMENTS: Final = """
    SELECT
        coalesce(sum(calls) FILTER (WHERE theirs), 0) AS statements,
        coalesce(sum(rows) FILTER (WHERE theirs), 0) AS rows,
        coalesce(sum(total_exec_time) FILTER (WHERE theirs), 0) AS statements_ms,
        coalesce(sum(total_exec_time) FILTER (WHERE queryid = own), 0) AS own_ms
    FROM (
        SELECT
            calls, rows, total_exec_time, queryid, own,
            dbid = (SELECT oid FROM pg_database WHERE datname = $2) AND queryid IS DISTINCT FROM own AS theirs
        FROM pg_stat_statements(false),
            (SELECT query_id AS own FROM pg_stat_activity WHERE pid = pg_backend_pid()) AS mine
    ) AS statement
"""


class NoAnswer(Exception):  # noqa: N818 - an expected outcome
    """The server is gone, rejects the query or did not answer in time."""


class Sessions:
    """Queries statistics over `connection`, which must be in autocommit, unused by others, and of a role that sees
    all sessions.

    The contender's sessions are those named `bookstore/<profile>/<pid>` after one of `workers`. With `named` false
    (an external service) they are all sessions in `database`. Figures of statements require the extension
    pg_stat_statements, loaded and created in the connection's database; they are up to date, because they are in
    shared memory. Figures of pg_stat_database lag: a session reports them at the end of a transaction, at most once a
    second.
    """

    def __init__(self, connection: psycopg.Connection, workers: Sequence[int], database: str, named: bool) -> None:
        self._libpq = connection.pgconn
        pids = "{" + ",".join(map(str, workers)) + "}"
        self._parameters = [pids.encode(), database.encode(), b"t" if named else b"f"]
        self._pending = False
        self._send_error = ""
        self._prepare()

    def send(self) -> None:
        """Send the query, unless the previous one is still unanswered."""
        self._send_error = ""
        try:
            if self._pending:
                self._take(time.monotonic())
            self._libpq.send_query_prepared(b"", self._parameters)
            self._pending = True
            self._libpq.flush()
        except (psycopg.Error, NoAnswer) as error:
            self._send_error = f"not sent: {error}"

    def receive(self, until_s: float) -> Mapping[str, float]:
        """Return the figures, waiting until `until_s` (time.monotonic()). Raises NoAnswer."""
        if self._send_error:
            raise NoAnswer(self._send_error)
        try:
            return self._take(until_s)
        except psycopg.Error as error:
            raise NoAnswer(str(error)) from error

    def close(self, within_s: float = 2.0) -> None:
        """Leave the connection usable, or close it if the server still does not answer `within_s` seconds."""
        try:
            if self._pending:
                self._take(time.monotonic() + within_s)
        except (psycopg.Error, NoAnswer):
            self._libpq.finish()

    def _prepare(self) -> None:
        """Prepare the unnamed statement, planned once; without pg_stat_statements fall back to a shorter query."""
        sessions_and_database = f"SELECT * FROM ({_SESSIONS}) AS session LEFT JOIN ({_DATABASE}) AS database ON true"  # noqa: S608 - constants of this file
        for query in (f"{sessions_and_database} LEFT JOIN ({_STATEMENTS}) AS statement ON true", sessions_and_database):
            try:
                result = self._libpq.prepare(b"", query.encode())
                if result.status == ExecStatus.COMMAND_OK and self._runs():
                    return
            except psycopg.Error:
                return  # the server is gone, which each poll will notice

    def _runs(self) -> bool:
        """Whether the query runs; the extension may exist although its library is not loaded."""
        return self._libpq.exec_prepared(b"", self._parameters).status == ExecStatus.TUPLES_OK

    def _take(self, until_s: float) -> Mapping[str, float]:
        ready = select.poll()
        ready.register(self._libpq.socket, select.POLLIN)
        while self._libpq.is_busy():
            left_s = until_s - time.monotonic()
            if not ready.poll(max(0.0, left_s) * 1000):
                raise NoAnswer("too late")
            self._libpq.consume_input()
        result = self._libpq.get_result()
        self._pending = False
        while self._libpq.get_result():  # None ends the result
            pass
        if result is None or result.status != ExecStatus.TUPLES_OK or not result.ntuples:
            raise NoAnswer(self._libpq.get_error_message())
        columns = ((result.fname(column), result.get_value(0, column)) for column in range(result.nfields))
        return {name.decode(): float(value) for name, value in columns if name and value is not None}
