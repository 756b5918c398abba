"""Where contenders run: local processes or compose, the benchmark database, PgBouncer, resource limits.

Belongs here: starting and stopping what is measured. Does not belong here: load (see `load`) and observation (see
`telemetry`). `run`, `plan`, `measurement` and `checks` import it.
"""
