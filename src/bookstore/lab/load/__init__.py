"""Load generators: k9 for HTTP, pgbench for the database's own ceiling.

Belongs here: the plan sent to a generator and the parsing of its output. Does not belong here: which requests are sent
(see `workload`) and telemetry during the load (see `telemetry`). `run`, `plan` and `measurement` import it.
"""
