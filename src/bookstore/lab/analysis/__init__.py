"""Statistics and verdicts: figures in, figures out.

Belongs here: intervals, significance, validity, scalability, comparison of runs. Does not belong here: anything that
measures, starts a process or formats text. `run`, `sweep`, `plan`, `measurement`, `report` and `storage` import it.
"""
