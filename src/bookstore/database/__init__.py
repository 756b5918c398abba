"""PostgreSQL access: URL, engine, unit of work, migrations, connection budget, PgBouncer, embedded server.

Belongs here: connections and transactions. Does not belong here: tables and queries (see `catalog`), HTTP statuses
(see `http.problem_details`). `http`, `observability`, `doctor`, `app` and `cli` import it. The lab uses everything
but the engine and the unit of work.
"""
