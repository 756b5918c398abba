"""Workloads: the requests to send and their rate, workload files, their JSON Schema, thresholds.

Belongs here: the description of the load and of the thresholds it must meet. Does not belong here: how a load
generator sends it (see `load`). Everything in the lab may import it.
"""
