"""Observations during a measurement: worker processes, PostgreSQL sessions, the metrics port, the host.

Belongs here: sampling and the time series made of it. Does not belong here: whether a reading spoils a measurement
(see `analysis.validity`). `run` and `measurement` import it.
"""
