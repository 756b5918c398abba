"""The run record: everything a comparison measured, from the machine down to one reading of a worker.

Names end in their unit. A figure that is not available is null, never 0 and never the previous value. Shares and
ratios are fractions: 1.0 is everything, or equal.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

from bookstore.lab.workload.spec import Workload

SCHEMA_VERSION: Final = 2

Status = Literal["complete", "aborted", "invalid"]
"""complete: enough valid rounds; aborted: stopped before that; invalid: too few valid rounds."""

Metric = Literal["throughput_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms_per_request", "pss_bytes"]
"""Metrics by which profiles are compared over paired rounds. Higher throughput is better; for the others, lower is
better."""

Verdict = Literal["faster", "slower", "less", "more", "no difference shown", "too noisy to say"]
"""faster and slower for throughput and latencies, less and more for CPU and memory."""


Deploy = Literal["process", "compose"]
"""process: as processes of this machine, on a cluster of the lab; compose: in the containers of compose.yaml."""


class Interval(msgspec.Struct, frozen=True):
    """An estimate with its 95 % confidence interval. `low` and `high` are None for a single round."""

    estimate: float
    low: float | None
    high: float | None


class Machine(msgspec.Struct, frozen=True):
    """The machine and software of a run. `engine` is the container engine with its version and `image` the id of the
    service's image; both are empty without containers. `python` and `packages` are the service's."""

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
    """Content of the database, and its source."""

    source: str
    books: int


class Limits(msgspec.Struct, frozen=True):
    """The share of the machine that the service may use. `means` is how it is enforced: cgroup2, cgroup1, taskset or
    none. `told` explains why the limit differs from the requested one."""

    cpus: float | None = None
    memory_bytes: int | None = None
    means: str = "none"
    told: str = ""


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """How the run was measured. Rounds are added until each interval of throughput is within ±`precision_ratio` (0.03
    is 3 %), but at least `min_rounds` and at most `max_rounds`. `most_errors_ratio` is the share of failed requests
    above which a round is invalid. With `allow_busy` a busy machine is a warning instead of a problem. `deploy` is
    how the contenders were deployed."""

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
    """A reason why a measurement is invalid. `told` names the figure and its limit. `code` is one of: errors,
    generator_busy, generator_late, machine_busy, not_steady, clock_jump, server_died, worker_replaced, not_quiet,
    no_answer, not_ready."""

    code: str
    told: str


class Series(msgspec.Struct, frozen=True):
    """One figure over time. `of` is its source: `worker <pid>`, `workers` (summed), `postgres`, `load` or `machine`.
    `values` has one value for each moment of Telemetry.at_s; null is a gap."""

    name: str
    of: str
    values: list[float | None]


class Telemetry(msgspec.Struct, frozen=True):
    """Everything observed during one measurement. `at_s` is in seconds since the measured load began, negative in the
    warm-up."""

    at_s: list[float] = []
    series: list[Series] = []


class Histogram(msgspec.Struct, frozen=True):
    """A histogram as in Prometheus, but not cumulative: `counts[i]` observations are at most `bounds_s[i]`, and the
    last count is of those above all bounds."""

    bounds_s: list[float]
    counts: list[int]
    sum_s: float


class Split(msgspec.Struct, frozen=True):
    """How the mean request's time is spent, in ms. The parts add up to `total_ms`, the mean latency seen by the load
    generator. `outside_ms` is time before and after the service's own code: network, accept queue, load generator."""

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
    """State of the load generator during the measurement. `cpu_ratio` is of one core, `late_ms` the 99th percentile
    of how late requests started (open model), `dropped` the number of planned requests that were never sent."""

    cpu_ratio: float | None = None
    late_ms: float | None = None
    dropped: int = 0


class HostActivity(msgspec.Struct, frozen=True):
    """Interference from the rest of the machine, as shares of all its cores. `steal_ratio` was taken by the
    hypervisor and `others_ratio` used by processes outside the run. `pressure_ratio` is the share of time in which
    some process waited for a CPU (PSI), `load1` the load average, `clock_jump_s` how far the wall clock moved against
    the monotonic clock."""

    steal_ratio: float | None = None
    others_ratio: float | None = None
    pressure_ratio: float | None = None
    load1: float | None = None
    clock_jump_s: float | None = None


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One profile in one round. Latencies are of the requests in the measured time, from the planned moment in the
    open model; 0 without any request. Each request, warm-up included, is in samples.parquet. `problems` is empty if
    the measurement is valid; invalid ones are kept and shown but never counted. `warnings` are problems that the run
    was configured to accept. `started_at` is the start of the measured time."""

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
    """One deployment of every profile, in the order of deployment, without those given up because they do not answer.
    If one profile is invalid, the round still counts for pairs whose two measurements are valid."""

    number: int
    measurements: list[Measurement]


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared: an engine profile with its effective keys, or an external service. `statements` holds the
    SQL of one request of each kind, by the kind's name, as logged by PostgreSQL. `load` holds the workload keys that
    differ for this contender in a sweep (concurrency, rate)."""

    label: str
    spec: str
    kind: Literal["profile", "external"] = "profile"
    keys: dict[str, str] = {}
    load: dict[str, float] = {}
    statements: dict[str, list[str]] = {}


class Comparison(msgspec.Struct, frozen=True):
    """A contender against the baseline by one metric, over the rounds in which both are valid.
    `smallest_effect_ratio` is the smallest distance of a ratio from 1 (0.06: 6 %) that this run would detect 4 times
    out of 5."""

    metric: Metric
    ratio: Interval
    verdict: Verdict
    smallest_effect_ratio: float | None
    rounds: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A contender over all its valid rounds. Percentiles are of all their requests together, never averaged.
    `ceiling_share` is throughput divided by the ceiling's. `comparisons` is empty for the baseline."""

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
        return next((comparison for comparison in self.comparisons if comparison.metric == metric), None)


class Step(msgspec.Struct, frozen=True):
    """Two profiles of the run that differ in a single key, so that the ratio is the effect of that key."""

    key: str
    before: str
    after: str
    baseline: str
    contender: str
    throughput_ratio: Interval


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison. `inspections` are one more deployment of each profile after the rounds, with the service's own
    metrics switched on (pool, event loop, garbage collector, serialisation). These metrics cost some percent, so
    inspections are never compared."""

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
