"""Rounds and samples -> what each contender achieved, and what each single key did. Judges figures; makes none."""

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
"""All samples of a profile in the round of a number: `functools.partial(samples.read, folder)`."""


def measurements_of(rounds: Sequence[Round], label: str) -> list[Measurement]:
    """The profile's measurement of each round, invalid ones too."""
    return [one for each in rounds for one in each.measurements if one.profile == label]


def summarise(
    rounds: Sequence[Round], contenders: Sequence[Contender], samples: Read, model: Model = "closed"
) -> list[Summary]:
    """A Summary for each of `contenders`, the first of which is the baseline, from valid measurements alone.
    One that has none is left out: there is no figure of it to believe."""
    baseline = contenders[0].label
    return [
        _summary(rounds, one.label, baseline, samples, model)
        for one in contenders
        if any(measured.is_valid for measured in measurements_of(rounds, one.label))
    ]


def latencies_ms(rounds: Sequence[Round], label: str, samples: Read, model: Model = "closed") -> NDArray[np.float32]:
    """Those of the measured seconds of all valid rounds together, ascending. Others are not read."""
    parts = [
        samples(label, each.number).measured(one.seconds, model).latency_ms
        for each in rounds
        for one in each.measurements
        if one.profile == label and one.is_valid
    ]
    return np.sort(np.concatenate(parts))


def _summary(rounds: Sequence[Round], label: str, baseline: str, samples: Read, model: Model) -> Summary:
    every = measurements_of(rounds, label)
    valid = [one for one in every if one.is_valid]
    throughput_per_s = fmean(one.throughput_per_s for one in valid)
    ceiling_per_s = _mean([one.ceiling_per_s for one in valid])
    latencies = latencies_ms(rounds, label, samples, model)
    return Summary(
        profile=label,
        rounds=len(valid),
        invalid_rounds=len(every) - len(valid),
        throughput_per_s=throughput_per_s,
        p50_ms=percentile(latencies, 0.50),
        p95_ms=percentile(latencies, 0.95),
        p99_ms=percentile(latencies, 0.99),
        p999_ms=percentile(latencies, 0.999),
        max_ms=percentile(latencies, 1),
        requests=sum(one.requests for one in valid),
        errors=sum(one.errors for one in valid),
        cpu_ms_per_request=_mean([one.cpu_ms_per_request for one in valid]),
        pss_bytes=_peak([one.pss_bytes for one in valid]),
        connections=_peak([one.connections for one in valid]),
        statements=_mean([one.statements_per_request for one in valid]),
        ceiling_share=throughput_per_s / ceiling_per_s if ceiling_per_s else None,
        comparisons=comparisons(rounds, label, baseline),
    )


def steps(rounds: Sequence[Round], contenders: Sequence[Contender]) -> list[Step]:
    """The pairs of `contenders` (in the order asked for) that differ in one key, under the same load, where both
    have a valid round in common. Other services have no keys, and no steps."""
    found = []
    for one, other in combinations([it for it in contenders if it.kind == "profile"], 2):
        changed = _changed(one.keys, other.keys)
        pairs = paired_figures(rounds, other.label, one.label, "throughput_per_s")
        if one.load == other.load and len(changed) == 1 and pairs[0]:
            key = changed[0]
            before, after = (it.keys.get(key, "-") for it in (one, other))
            found.append(Step(key, before, after, one.label, other.label, ratio(*pairs)))
    return found


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key) and key != "description"]
    if _threads_follow(before) and _threads_follow(after):
        keys = [key for key in keys if key != "threads"]
    return keys


def _threads_follow(keys: Mapping[str, str]) -> bool:
    """Whether the number of threads is what the pool or the driver makes it, and so no knob of its own."""
    pool = sum(int(keys.get(key, "0")) for key in ("pool_size", "max_overflow"))
    return keys.get("threads") in {None, str(pool)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _peak(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
