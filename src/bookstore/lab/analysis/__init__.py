"""Statistics and verdicts: functions from figures to figures.

Belongs here: intervals, significance, validity, scalability, comparison of runs. Does not belong here: anything that
measures, starts a process or formats text. `run`, `sweep`, `plan`, `measurement`, `report` and `storage` import it.
"""
