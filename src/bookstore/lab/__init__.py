"""The benchmark lab: deploys each profile, loads it, observes it and compares the runs.

Belongs here: planning, measuring, storing and reporting; the lab reaches the service over HTTP and SQL only. Does not
belong here: anything that the service needs at run time. Only `cli` imports it.
"""
