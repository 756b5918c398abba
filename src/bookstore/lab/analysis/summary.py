"""From rounds and samples to each contender's summary and the effect of each single key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bookstore.lab.analysis.statistics import percentile, ratio
from bookstore.lab.analysis.verdict import comparisons, paired_figures
from bookstore.lab.record.run_record import Contender, Measurement, Round, Step, Summary
from bookstore.lab.record.samples import Samples

Model = Literal["closed", "open"]
Read = Callable[[str, int], Samples]
"""Returns all samples of a profile in a round, given the round's number: `functools.partial(samples.read, folder)`."""


def measurements_of(rounds: Sequence[Round], label: str) -> list[Measurement]:
    """Return the profile's measurement in each round, including invalid ones."""
    return [measurement for each in rounds for measurement in each.measurements if measurement.profile == label]


def summarise(
    rounds: Sequence[Round], contenders: Sequence[Contender], samples: Read, model: Model = "closed"
) -> list[Summary]:
    """Return a Summary for each of `contenders`, the first of which is the baseline, from valid measurements only.

    A contender without a valid measurement is left out.
    """
    baseline = contenders[0].label
    return [
        _summary(rounds, contender.label, baseline, samples, model)
        for contender in contenders
        if any(measurement.is_valid for measurement in measurements_of(rounds, contender.label))
    ]


def latencies_ms(rounds: Sequence[Round], label: str, samples: Read, model: Model = "closed") -> NDArray[np.float32]:
    """Return the latencies in the measured time of all valid rounds together, ascending; other samples are not read."""
    parts = [
        samples(label, each.number).measured(measurement.seconds, model).latency_ms
        for each in rounds
        for measurement in each.measurements
        if measurement.profile == label and measurement.is_valid
    ]
    return np.sort(np.concatenate(parts))


def _summary(rounds: Sequence[Round], label: str, baseline: str, samples: Read, model: Model) -> Summary:
    measurements = measurements_of(rounds, label)
    valid = [measurement for measurement in measurements if measurement.is_valid]
    throughput_per_s = fmean(measurement.throughput_per_s for measurement in valid)
    ceiling_per_s = _mean([measurement.ceiling_per_s for measurement in valid])
    latencies = latencies_ms(rounds, label, samples, model)
    return Summary(
        profile=label,
        rounds=len(valid),
        invalid_rounds=len(measurements) - len(valid),
        throughput_per_s=throughput_per_s,
        p50_ms=percentile(latencies, 0.50),
        p95_ms=percentile(latencies, 0.95),
        p99_ms=percentile(latencies, 0.99),
        p999_ms=percentile(latencies, 0.999),
        max_ms=percentile(latencies, 1),
        requests=sum(measurement.requests for measurement in valid),
        errors=sum(measurement.errors for measurement in valid),
        cpu_ms_per_request=_mean([measurement.cpu_ms_per_request for measurement in valid]),
        pss_bytes=_peak([measurement.pss_bytes for measurement in valid]),
        connections=_peak([measurement.connections for measurement in valid]),
        statements=_mean([measurement.statements_per_request for measurement in valid]),
        ceiling_share=throughput_per_s / ceiling_per_s if ceiling_per_s else None,
        comparisons=comparisons(rounds, label, baseline),
    )


def steps(rounds: Sequence[Round], contenders: Sequence[Contender]) -> list[Step]:
    """Return the pairs of `contenders` (in the given order) that differ in one key, under the same load.

    Both need a valid round in common. External services have no keys, and therefore no steps.
    """
    steps = []
    for first, second in combinations([contender for contender in contenders if contender.kind == "profile"], 2):
        changed = _changed_keys(first.keys, second.keys)
        pairs = paired_figures(rounds, second.label, first.label, "throughput_per_s")
        if first.load == second.load and len(changed) == 1 and pairs[0]:
            key = changed[0]
            before, after = (contender.keys.get(key, "-") for contender in (first, second))
            steps.append(Step(key, before, after, first.label, second.label, ratio(*pairs)))
    return steps


def _changed_keys(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key) and key != "description"]
    if _threads_follow(before) and _threads_follow(after):
        keys = [key for key in keys if key != "threads"]
    return keys


def _threads_follow(keys: Mapping[str, str]) -> bool:
    """Whether the number of threads follows from the pool or the driver and is not a setting of its own."""
    pool = sum(int(keys.get(key, "0")) for key in ("pool_size", "max_overflow"))
    return keys.get("threads") in {None, str(pool)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _peak(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
