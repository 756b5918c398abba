"""The structs of a run: `run.json`, the samples of its requests, latency histograms.

Belongs here: the stored format, which must stay readable for later versions. Does not belong here: files and folders
(see `storage`) and calculations (see `analysis`). Everything in the lab above `workload` may import it.
"""
