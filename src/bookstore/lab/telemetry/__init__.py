"""Observations during a measurement: worker processes, PostgreSQL sessions, the metrics port, the host.

Belongs here: sampling and the time series made from it. Does not belong here: whether a reading invalidates a
measurement (see `analysis.validity`). `run` and `measurement` import it.
"""
