"""Metrics that only the service itself can report, in Prometheus text format on a port of their own.

Belongs here: what a worker counts (`pool`, `requests`, `runtime`), the memory that workers share with the server's main
process (`block`, `shared_memory`), and the page that the main process serves (`exposition`, `info`, `port`). Without a
metrics port, none of it is active. Does not belong here: what PostgreSQL or the system can report. `app` and `cli`
import it, and so does `request_log`.
"""
