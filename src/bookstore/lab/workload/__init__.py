"""Workloads: what is requested and how fast, workload files, their JSON Schema, thresholds.

Belongs here: the description of load and of the promises it must keep. Does not belong here: how a generator sends it
(see `load`). Everything in the lab may import it.
"""
