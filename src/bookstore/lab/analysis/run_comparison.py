"""Compares two stored runs: where they differ, and the weaker judgement possible without paired rounds."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bookstore.config.text import excerpt
from bookstore.config.validation import suggestion
from bookstore.exceptions import ConfigurationError
from bookstore.lab.analysis.statistics import unpaired_ratio
from bookstore.lab.analysis.summary import measurements_of
from bookstore.lab.analysis.verdict import METRICS, judge
from bookstore.lab.record.run_record import Comparison, Contender, Metric, Round, Run, Summary

UNPAIRED: Final = (
    "The rounds belong to two runs and are not paired: a change between the runs that affects all rounds alike is part "
    "of the ratio and not covered by the interval. Compare within one run where possible."
)

_NOT_MEASURED: Final = {"name", "description", "thresholds"}  # workload keys that do not affect the load


def differences(baseline: Run, contender: Run) -> list[str]:
    """Return a line for each field of machine, versions, deployment, workload, catalogue and limits that differs.

    A line has the field's name and both values. Empty if the runs may be compared.
    """
    before, after = _facts(baseline), _facts(contender)
    return [
        f"{field}: {_format_field(before, field)} in {baseline.id}, {_format_field(after, field)} in {contender.id}"
        for field in sorted({*before, *after})
        if before.get(field, _ABSENT) != after.get(field, _ABSENT)
    ]


def compare(
    baseline: Run,
    contender: Run,
    *,
    baseline_label: str | None = None,
    contender_label: str | None = None,
    allow_unlike: bool = False,
) -> Run:
    """Return a record of the two runs as if they were one run in which no round has both contenders.

    `baseline_label` (default: the first contender) is compared with `contender_label` (default: the one of the same
    name, else the first). The record's `told` says that the rounds are not paired and what differs. If either run is
    not complete, neither is the record. Raises ConfigurationError if the runs differ and `allow_unlike` is false, if
    a run has no such contender, or if a contender has no valid round.
    """
    different = differences(baseline, contender)
    if different and not allow_unlike:
        lines = "\n".join(f"  {line}" for line in different)
        raise ConfigurationError(f"the two runs differ; --allow-unlike compares them with a warning:\n{lines}")
    first = _contender(baseline, baseline_label)
    same = next((candidate.label for candidate in contender.contenders if candidate.label == first.label), None)
    second = _contender(contender, contender_label or same)
    names = [f"{side.label} ({run.id[:15]})" for side, run in ((first, baseline), (second, contender))]
    if names[0] == names[1]:
        names = [f"{names[0]} as baseline", f"{names[1]} as contender"]
    rounds = [
        *_renumbered_rounds(baseline, first.label, names[0], 0),
        *_renumbered_rounds(contender, second.label, names[1], len(baseline.rounds)),
    ]
    told = f"{UNPAIRED} The runs differ: {'; '.join(different)}." if different else UNPAIRED
    told += "".join(
        f" {run.id} is {run.status}: {run.told}." for run in (baseline, contender) if run.status != "complete"
    )
    return msgspec.structs.replace(
        contender,
        id=f"{baseline.id[:15]}_{contender.id}"[:120],
        status=contender.status if contender.status != "complete" else baseline.status,
        told=told,
        contenders=[
            msgspec.structs.replace(side, label=name) for side, name in zip((first, second), names, strict=True)
        ],
        rounds=rounds,
        summary=[
            msgspec.structs.replace(_summary(baseline, first.label), profile=names[0], comparisons=[]),
            msgspec.structs.replace(
                _summary(contender, second.label), profile=names[1], comparisons=_comparisons(rounds, *names)
            ),
        ],
        steps=[],
    )


_ABSENT: Final = "nothing"


def _facts(run: Run) -> dict[str, Any]:
    machine = msgspec.to_builtins(run.machine)
    versions = {"python": machine.pop("python"), "postgresql": machine.pop("postgresql"), **machine.pop("packages")}
    workload = {key: value for key, value in msgspec.to_builtins(run.workload).items() if key not in _NOT_MEASURED}
    limits = msgspec.to_builtins(run.protocol.limits)
    del limits["told"]
    parts = {
        "machine": machine,
        "versions": versions,
        "workload": workload,
        "catalogue": msgspec.to_builtins(run.catalogue),
        "limits": limits,
        "protocol": {"deploy": run.protocol.deploy},
    }
    return {f"{part}.{field}": value for part, fields in parts.items() for field, value in fields.items()}


def _format_field(facts: dict[str, Any], field: str) -> str:
    value = facts.get(field, _ABSENT)
    return excerpt(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _contender(run: Run, label: str | None) -> Contender:
    labels = [contender.label for contender in run.contenders]
    if label is not None and label not in labels:
        raise ConfigurationError(f"run {run.id}: no contender {label!r}; allowed is {suggestion(label, labels)}")
    return run.contenders[labels.index(label) if label is not None else 0]


def _summary(run: Run, label: str) -> Summary:
    summary = next((candidate for candidate in run.summary if candidate.profile == label), None)
    if summary is None:
        raise ConfigurationError(f"run {run.id}: {label} has no valid round, so there is nothing to compare")
    return summary


def _renumbered_rounds(run: Run, label: str, name: str, after: int) -> list[Round]:
    """Return the contender's measurements alone, as rounds numbered from `after` + 1."""
    measured = measurements_of(run.rounds, label)
    return [
        Round(after + number, [msgspec.structs.replace(measurement, profile=name)])
        for number, measurement in enumerate(measured, 1)
    ]


def _comparisons(rounds: list[Round], baseline: str, contender: str) -> list[Comparison]:
    comparisons = []
    for metric in METRICS:
        sides = [_figures(rounds, label, metric) for label in (contender, baseline)]
        if all(sides):
            comparisons.append(judge(metric, unpaired_ratio(*sides), min(map(len, sides))))
    return comparisons


def _figures(rounds: list[Round], label: str, metric: Metric) -> list[float]:
    values = [getattr(measurement, metric) for measurement in measurements_of(rounds, label) if measurement.is_valid]
    return [float(value) for value in values if value]
