"""Checks before measuring: whether a contender is what its profile says, and whether all contenders answer alike.

Belongs here: verification against PostgreSQL's own catalogues and log. Does not belong here: whether a measurement
counts (see `analysis.validity`). `run` imports it.
"""
