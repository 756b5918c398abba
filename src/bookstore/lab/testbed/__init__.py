"""Where contenders run: local processes or compose, the benchmark database, PgBouncer, resource limits.

Belongs here: starting and stopping the services and servers of a measurement. Does not belong here: load (see `load`)
and observation (see `telemetry`). `run`, `plan`, `measurement` and `checks` import it.
"""
