"""Runs on disk: finding, reading and writing them, a run in progress, and records of version 1.

Belongs here: folders and files of runs. Does not belong here: the structs in them (see `record`). `run`, `sweep`,
`report` and the command line import it.
"""
