"""Two stored runs, compared: what makes them unlike, and the weaker judgement that unpaired rounds allow."""

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
    "The rounds are of two runs and not paired: what changed between the runs for all rounds alike is in the ratio, "
    "and no interval knows of it. Compare within one run where you can."
)

_NOT_MEASURED: Final = {"name", "description", "thresholds"}  # of a workload


def differences(baseline: Run, contender: Run) -> list[str]:
    """A line for each field of machine, versions, deployment, workload, catalogue and limits that differs: its name,
    the baseline's value and the contender's. Empty where the two may be compared."""
    one, other = _facts(baseline), _facts(contender)
    return [
        f"{field}: {_format_field(one, field)} in {baseline.id}, {_format_field(other, field)} in {contender.id}"
        for field in sorted({*one, *other})
        if one.get(field, _ABSENT) != other.get(field, _ABSENT)
    ]


def compare(
    baseline: Run,
    contender: Run,
    *,
    baseline_label: str | None = None,
    contender_label: str | None = None,
    allow_unlike: bool = False,
) -> Run:
    """A record of the two, as if they were one run in which no round has both; `told` says that they are not paired and
    what differs. It is `baseline_label` (its first contender) that `contender_label` (of the same name, or the first)
    is compared with. Raises ConfigurationError where the runs are unlike and that is not allowed, where a run has no
    such contender, and where a contender has no valid round. What came of a run that is not complete is not either.
    """
    different = differences(baseline, contender)
    if different and not allow_unlike:
        told = "\n".join(f"  {line}" for line in different)
        raise ConfigurationError(f"the two runs are not alike; --allow-unlike compares them with a warning:\n{told}")
    first = _contender(baseline, baseline_label)
    same = next((it.label for it in contender.contenders if it.label == first.label), None)
    second = _contender(contender, contender_label or same)
    names = [f"{it.label} ({run.id[:15]})" for it, run in ((first, baseline), (second, contender))]
    if names[0] == names[1]:
        names = [f"{names[0]} as baseline", f"{names[1]} as contender"]
    rounds = [
        *_renumbered_rounds(baseline, first.label, names[0], 0),
        *_renumbered_rounds(contender, second.label, names[1], len(baseline.rounds)),
    ]
    told = f"{UNPAIRED} The runs are unlike: {'; '.join(different)}." if different else UNPAIRED
    told += "".join(
        f" {run.id} is {run.status}: {run.told}." for run in (baseline, contender) if run.status != "complete"
    )
    return msgspec.structs.replace(
        contender,
        id=f"{baseline.id[:15]}_{contender.id}"[:120],
        status=contender.status if contender.status != "complete" else baseline.status,
        told=told,
        contenders=[msgspec.structs.replace(it, label=name) for it, name in zip((first, second), names, strict=True)],
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
    load = {key: value for key, value in msgspec.to_builtins(run.workload).items() if key not in _NOT_MEASURED}
    limits = msgspec.to_builtins(run.protocol.limits)
    del limits["told"]
    parts = {
        "machine": machine,
        "versions": versions,
        "workload": load,
        "catalogue": msgspec.to_builtins(run.catalogue),
        "limits": limits,
        "protocol": {"deploy": run.protocol.deploy},
    }
    return {f"{part}.{field}": value for part, fields in parts.items() for field, value in fields.items()}


def _format_field(facts: dict[str, Any], field: str) -> str:
    value = facts.get(field, _ABSENT)
    return excerpt(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _contender(run: Run, label: str | None) -> Contender:
    labels = [it.label for it in run.contenders]
    if label is not None and label not in labels:
        raise ConfigurationError(f"run {run.id}: no contender {label!r}; allowed is {suggestion(label, labels)}")
    return run.contenders[labels.index(label) if label is not None else 0]


def _summary(run: Run, label: str) -> Summary:
    found = next((one for one in run.summary if one.profile == label), None)
    if found is None:
        raise ConfigurationError(f"run {run.id}: {label} has no valid round; there is no figure to compare")
    return found


def _renumbered_rounds(run: Run, label: str, name: str, after: int) -> list[Round]:
    """The contender's measurements alone, as rounds numbered on."""
    measured = measurements_of(run.rounds, label)
    return [
        Round(after + number, [msgspec.structs.replace(one, profile=name)]) for number, one in enumerate(measured, 1)
    ]


def _comparisons(rounds: list[Round], baseline: str, contender: str) -> list[Comparison]:
    found = []
    for metric in METRICS:
        sides = [_figures(rounds, label, metric) for label in (contender, baseline)]
        if all(sides):
            found.append(judge(metric, unpaired_ratio(*sides), min(map(len, sides))))
    return found


def _figures(rounds: list[Round], label: str, metric: Metric) -> list[float]:
    values = [getattr(one, metric) for one in measurements_of(rounds, label) if one.is_valid]
    return [float(value) for value in values if value]
