"""The run record's words: what a comparison measured, from the machine down to one look at a worker.

Names end in their unit. A figure that could not be had is null: a gap is never 0 and never the last value.
Shares and ratios are fractions, 1.0 is all or alike.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

from bookstore.lab.workload.spec import Workload

SCHEMA_VERSION: Final = 2

Status = Literal["complete", "aborted", "invalid"]
"""complete: enough valid rounds; aborted: stopped before that; invalid: too few rounds are valid."""

Metric = Literal["throughput_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms_per_request", "pss_bytes"]
"""What profiles are compared by, over paired rounds. More throughput is better, less of the others."""

Verdict = Literal["faster", "slower", "less", "more", "no difference shown", "too noisy to say"]
"""faster and slower for throughput and latencies, less and more for CPU and memory."""


Deploy = Literal["process", "compose"]
"""process: as this machine's processes, on a cluster of the lab's own; compose: in the containers of compose.yaml."""


class Interval(msgspec.Struct, frozen=True):
    """An estimate and the interval that holds the true value in 95 of 100 experiments. `low` and `high` are
    None where one round alone cannot tell them."""

    estimate: float
    low: float | None
    high: float | None


class Machine(msgspec.Struct, frozen=True):
    """`engine` is what ran the containers, with its version, and `image` the id of the service's; both are empty where
    there were none. `python` and `packages` are the service's."""

    system: str
    cpu: str
    cores: int
    memory_bytes: int
    python: str
    postgresql: str
    packages: dict[str, str]
    engine: str = ""
    image: str = ""


class Catalogue(msgspec.Struct, frozen=True):
    """What the database held, and where it came from."""

    source: str
    books: int


class Limits(msgspec.Struct, frozen=True):
    """The share of the machine that the service may use. `means` is how: cgroup2, cgroup1, taskset or none,
    and `told` says why where it is not what was asked for."""

    cpus: float | None = None
    memory_bytes: int | None = None
    means: str = "none"
    told: str = ""


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """How the run was made: a round more until each interval of throughput is within ±`precision_ratio`
    (0.03 is 3 %), but at least `min_rounds` and at most `max_rounds`. `most_errors_ratio` is the share of
    failed requests above which a round is invalid. With `allow_busy` a busy machine is a warning and no problem.
    `deploy` is how the contenders were."""

    min_rounds: int
    max_rounds: int
    precision_ratio: float
    most_errors_ratio: float = 0.001
    allow_busy: bool = False
    watch: bool = True
    inspect: bool = True
    limits: Limits = Limits()
    deploy: Deploy = "process"


class Problem(msgspec.Struct, frozen=True):
    """Why a measurement is not valid. `code` is one of: errors, generator_busy, generator_late, machine_busy,
    not_steady, clock_jump, server_died, worker_replaced, not_quiet. `told` names the figure and its limit."""

    code: str
    told: str


class Series(msgspec.Struct, frozen=True):
    """One figure over time. `of` is whose it is: `worker <pid>`, `workers` (summed), `postgres`, `load`,
    `machine`. `values` stand beside Telemetry.at_s; null is a gap."""

    name: str
    of: str
    values: list[float | None]


class Telemetry(msgspec.Struct, frozen=True):
    """All that was watched during one measurement. `at_s` are seconds since the measured load began, negative
    in the warm-up."""

    at_s: list[float] = []
    series: list[Series] = []


class Histogram(msgspec.Struct, frozen=True):
    """Prometheus's: `counts[i]` observations at most `bounds_s[i]`, not cumulative; the last count is of
    those beyond every bound."""

    bounds_s: list[float]
    counts: list[int]
    sum_s: float


class Split(msgspec.Struct, frozen=True):
    """Where the mean request's time goes, in ms: the parts add up to `total_ms`, the mean latency seen by the
    load generator. `outside_ms` is what passed before and after the service's own code: the network, the
    accept queue, the load generator."""

    total_ms: float
    pool_wait_ms: float
    database_ms: float
    serialisation_ms: float
    python_ms: float
    outside_ms: float


class Kind(msgspec.Struct, frozen=True):
    """One of the workload's requests, in one measurement."""

    name: str
    requests: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Generator(msgspec.Struct, frozen=True):
    """The load generator's own state while it measured. `cpu_ratio` is of one core; `late_ms` how late it
    began its requests at the 99th percentile (open model); `dropped` the planned requests it never sent."""

    cpu_ratio: float | None = None
    late_ms: float | None = None
    dropped: int = 0


class HostActivity(msgspec.Struct, frozen=True):
    """What else the machine did meanwhile, as shares of all its cores: `steal_ratio` what the hypervisor
    took, `others_ratio` what processes that are not of the run used; `pressure_ratio` how much of the time
    some process waited for a CPU (PSI), `load1` the load average, `clock_jump_s` how far the wall clock moved
    against the steady one."""

    steal_ratio: float | None = None
    others_ratio: float | None = None
    pressure_ratio: float | None = None
    load1: float | None = None
    clock_jump_s: float | None = None


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One profile in one round. Latencies are of the measured seconds' requests, from the planned moment in
    the open model; each request is in samples.parquet, the warm-up's too. `problems` is empty where the
    measurement is valid; the others are kept and shown and never counted. `warnings` are what the run was told to
    bear. `started_at` is when the measured seconds began. Without any request the latencies are 0."""

    profile: str
    problems: list[Problem] = []
    warnings: list[Problem] = []
    started_at: datetime | None = None
    warm_up_s: float = 0.0
    seconds: float
    requests: int
    errors: int
    statuses: dict[str, int] = {}
    throughput_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    kinds: list[Kind] = []
    cpu_ms_per_request: float | None = None
    database_cpu_ms_per_request: float | None = None
    database_ms_per_request: float | None = None
    statements_per_request: float | None = None
    rows_per_request: float | None = None
    pss_bytes: int | None = None
    connections: int | None = None
    ceiling_per_s: float | None = None
    split: Split | None = None
    pool_wait: Histogram | None = None
    pool_timeouts: int | None = None
    workers: list[int] = []
    generator: Generator = Generator()
    quiet: HostActivity = HostActivity()
    telemetry: Telemetry = Telemetry()

    @property
    def is_valid(self) -> bool:
        return not self.problems


class Round(msgspec.Struct, frozen=True):
    """One deployment of every profile, in the order they were deployed in. A round in which one of them is
    invalid counts for the others where both of a pair are valid."""

    number: int
    measurements: list[Measurement]


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared: an engine profile with its effective keys, or any other service. `statements` are
    those of one request of each of the workload's kinds, by its name, as PostgreSQL's log has them. `load` is what
    of the workload is another for this one (concurrency, rate), in a sweep."""

    label: str
    spec: str
    kind: Literal["profile", "external"] = "profile"
    keys: dict[str, str] = {}
    load: dict[str, float] = {}
    statements: dict[str, list[str]] = {}


class Comparison(msgspec.Struct, frozen=True):
    """A contender against the baseline by one metric, over the rounds in which both are valid. The
    `smallest_effect_ratio` is how far from 1 (0.06: 6 %) a ratio had to be for this run to see it, four times
    of five."""

    metric: Metric
    ratio: Interval
    verdict: Verdict
    smallest_effect_ratio: float | None
    rounds: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A contender over all its valid rounds. Percentiles are of all their requests together, never averaged;
    `ceiling_share` is throughput over the ceiling's. `comparisons` is empty for the baseline."""

    profile: str
    rounds: int
    invalid_rounds: int
    throughput_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    requests: int
    errors: int
    cpu_ms_per_request: float | None = None
    pss_bytes: int | None = None
    connections: int | None = None
    statements: float | None = None
    ceiling_share: float | None = None
    comparisons: list[Comparison] = []

    def compared_by(self, metric: Metric) -> Comparison | None:
        return next((one for one in self.comparisons if one.metric == metric), None)


class Step(msgspec.Struct, frozen=True):
    """Two profiles of the run that differ in one key alone, so that the ratio is that key's doing."""

    key: str
    before: str
    after: str
    baseline: str
    contender: str
    throughput_ratio: Interval


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison. `inspections` are one deployment more of each profile, after the rounds, in which the service
    tells what only it knows (pool, event loop, garbage collector, serialisation): telling costs it some
    percent, so no figure of theirs is compared."""

    schema_version: int = SCHEMA_VERSION
    id: str
    started_at: datetime
    ended_at: datetime | None = None
    status: Status = "complete"
    told: str = ""
    seed: int
    protocol: Protocol
    workload: Workload
    catalogue: Catalogue
    machine: Machine
    contenders: Annotated[list[Contender], msgspec.Meta(min_length=1)]
    rounds: list[Round]
    inspections: list[Measurement] = []
    summary: list[Summary]
    steps: list[Step] = []


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
