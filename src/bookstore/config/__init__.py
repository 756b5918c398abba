"""Strict reading of configuration: environment variables, YAML documents, scalar values and shipped folders.

Belongs here: parsing and validation that are independent of profiles, workloads and the database. Does not belong here:
the keys of one kind of file (see `profile` and `lab.workload`). Anything may import it; it imports only `exceptions`.
"""
