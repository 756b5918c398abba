"""Logs, request log, slow statements and traces; counters and the Prometheus endpoint are in `metrics`.

Belongs here: code that reports what the service does. It wraps the application and the engine from outside: only
`app`, `cli` and `doctor` import it, and the domain never does.
"""
