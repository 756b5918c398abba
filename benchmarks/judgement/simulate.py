"""Error rates of the lab's verdicts, from simulated rounds with the noise of a shared machine.

    .venv/bin/python benchmarks/judgement/simulate.py

Prints the tables of docs/concepts/judgement.md within some minutes, from one fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bookstore.lab.analysis.statistics import QUANTILE, t_quantile

Floats = NDArray[np.float64]
Noise = Callable[[tuple[int, int], float], Floats]

RANDOM: Final = np.random.default_rng(20260131)
PRECISION: Final = math.log(1.03)
SPREADS: Final = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15)


def normal(shape: tuple[int, int], spread: float) -> Floats:
    return spread * RANDOM.standard_normal(shape)


def heavy(shape: tuple[int, int], spread: float) -> Floats:
    """Student's t with 4 degrees of freedom: one round in fifty is three spreads off."""
    return spread * RANDOM.standard_t(4, shape) / math.sqrt(2)


def bursts(shape: tuple[int, int], spread: float) -> Floats:
    """Every tenth round is three times as noisy as the others."""
    return spread / math.sqrt(1.8) * RANDOM.standard_normal(shape) * np.where(RANDOM.random(shape) < 0.1, 3, 1)


def drift(shape: tuple[int, int], spread: float) -> Floats:
    """Log ratios of two profiles, deployed in random order 5 s apart, on a machine whose log speed drifts
    (Ornstein-Uhlenbeck, 30 s), plus independent noise of each measurement."""
    runs, rounds = shape
    keep = math.exp(-5 / 30)
    speed = np.empty((runs, 2 * rounds))
    speed[:, 0] = RANDOM.standard_normal(runs)
    for slot in range(1, 2 * rounds):
        speed[:, slot] = keep * speed[:, slot - 1] + math.sqrt(1 - keep**2) * RANDOM.standard_normal(runs)
    both = speed.reshape(runs, rounds, 2) + 0.2 * RANDOM.standard_normal((runs, rounds, 2))
    ratios: Floats = (both[..., 0] - both[..., 1]) * RANDOM.choice([-1, 1], shape)
    return spread / math.sqrt(2 * (1 - keep) + 0.08) * ratios


NOISES: Final[dict[str, Noise]] = {"normal": normal, "heavy tails": heavy, "bursts": bursts, "drift": drift}


def student(logs: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Return the lower and upper bounds for each row."""
    rounds = logs.shape[1]
    half = t_quantile((1 + confidence) / 2, rounds - 1) * logs.std(1, ddof=1) / math.sqrt(rounds)
    return logs.mean(1) - half, logs.mean(1) + half


def resample(logs: Floats, many: int = 1000) -> Floats:
    """Return the means of `many` resamples of each row's rounds, drawn with replacement, in ascending order."""
    runs, rounds = logs.shape
    drawn = RANDOM.multinomial(rounds, [1 / rounds] * rounds, (runs, many))
    return np.sort(np.einsum("rmn,rn->rm", drawn, logs) / rounds, axis=1)


def bootstrap(logs: Floats) -> tuple[Floats, Floats]:
    means = resample(logs)
    return np.quantile(means, 0.025, axis=1), np.quantile(means, 0.975, axis=1)


def bca(logs: Floats) -> tuple[Floats, Floats]:
    """Return bounds of the bias-corrected and accelerated bootstrap (Efron 1987)."""
    means = resample(logs)
    below = np.clip((means < logs.mean(1)[:, None]).mean(1), 1e-3, 1 - 1e-3)
    bias = stats.norm.ppf(below)
    apart = logs.mean(1)[:, None] - logs
    skew = -(apart**3).sum(1) / (6 * (apart**2).sum(1) ** 1.5)
    ends = []
    for share in (0.025, 0.975):
        shifted = bias + stats.norm.ppf(share)
        places = stats.norm.cdf(bias + shifted / (1 - skew * shifted))
        ends.append(means[np.arange(len(means)), np.clip((places * means.shape[1]).astype(int), 0, means.shape[1] - 1)])
    return ends[0], ends[1]


def covers(ends: tuple[Floats, Floats]) -> float:
    return float(np.mean((ends[0] <= 0) & (ends[1] >= 0)))


def coverage_of_throughput() -> None:
    print("\n| noise | rounds | Student's t | bootstrap of rounds | BCa |\n|---|---|---|---|---|")
    for name, noise in NOISES.items():
        for rounds in (5, 10, 15, 20):
            logs = noise((4000, rounds), 0.06)
            shares = (covers(student(logs, 0.95)), covers(bootstrap(logs)), covers(bca(logs)))
            print(f"| {name} | {rounds} |", " | ".join(f"{100 * share:.1f} %" for share in shares), "|")


def coverage_of_p99(runs: int = 1000, many: int = 400) -> None:
    """Compare a profile with itself: log-normal latencies, with a random shift for each round."""
    print(
        "\n| requests a round | rounds | Student's t | hierarchical bootstrap | BCa of rounds |\n|---|---|---|---|---|"
    )
    for requests in (300, 3000):
        rank = math.ceil(0.99 * requests) - 1
        for rounds in (5, 10, 15):
            logs, covered = [], 0
            for _ in range(runs):
                shifts = heavy((2, rounds), 0.08)
                latencies = np.sort(0.5 * RANDOM.standard_normal((2, rounds, requests)) + shifts[..., None])
                logs.append(latencies[0, :, rank] - latencies[1, :, rank])
                # the p99 of a resampled round is one of that round's latencies, at a Beta-distributed rank
                chosen = RANDOM.integers(0, rounds, (many, rounds))
                ranks = RANDOM.beta(rank + 1, requests - rank, (2, many, rounds))
                places = (ranks * requests).astype(int)
                drawn = latencies[0, chosen, places[0]] - latencies[1, chosen, places[1]]
                ends = np.quantile(drawn.mean(1), (0.025, 0.975))
                covered += bool(ends[0] <= 0 <= ends[1])
            ratios = np.array(logs)
            shares = (covers(student(ratios, 0.95)), covered / runs, covers(bca(ratios)))
            print(f"| {requests} | {rounds} |", " | ".join(f"{100 * share:.1f} %" for share in shares), "|")


def half_widths(logs: Floats, confidence: float) -> Floats:
    """Return the half-width of each row's interval after each round; infinite after the first."""
    most = logs.shape[1]
    counts = np.arange(2, most + 1)
    means = np.cumsum(logs, 1)[:, 1:] / counts
    variances = np.maximum(np.cumsum(logs**2, 1)[:, 1:] - counts * means**2, 0) / (counts - 1)
    quantiles = np.array([t_quantile((1 + confidence) / 2, count - 1) for count in range(2, most + 1)])
    return np.concatenate([np.full((len(logs), 1), np.inf), quantiles * np.sqrt(variances / counts)], axis=1)


def stop(logs: Floats, least: int, confidence: float) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return the mean, half-width and number of rounds of each contender in each run.

    `logs` has the axes run, contender, round. A run is checked after each round from the `least`-th on, and ends
    when all its intervals are narrow.
    """
    runs, contenders, most = logs.shape
    halves = half_widths(logs.reshape(-1, most), confidence).reshape(logs.shape)
    done: NDArray[np.bool_] = np.logical_and.reduce(halves <= PRECISION, axis=1)
    done[:, : least - 1] = False
    done[:, -1] = True
    last = done.argmax(1)
    at = np.broadcast_to(last[:, None, None], (runs, contenders, 1))
    means = np.cumsum(logs, 2) / np.arange(1, most + 1)
    return np.take_along_axis(means, at, 2)[..., 0], np.take_along_axis(halves, at, 2)[..., 0], last + 1


def stopping(runs: int = 20_000) -> None:
    """Print false alarms (the maximum over SPREADS) and detected slowdowns (the minimum over NOISES)."""
    print("\n| quantile | min | max |", " | ".join(NOISES), "| found at 4 % | found at 8 % | rounds at 3, 5, 8 % |")
    print("|---" * (6 + len(NOISES)) + "|")
    for confidence in (0.95, QUANTILE):
        for least, most in ((3, 15), (5, 12), (5, 15), (6, 12), (6, 15), (6, 20), (10, 15), (15, 15)):

            def simulate(noise: Noise, spread: float, least: int = least, most: int = most, level: float = confidence,
                         shift: float = 0) -> tuple[Floats, Floats, NDArray[np.int64]]:  # fmt: skip
                return stop(noise((runs, most), spread)[:, None] + shift, least, level)

            alarms = []
            for noise in NOISES.values():
                results = [simulate(noise, spread) for spread in SPREADS]
                alarms.append(max(float(np.mean(np.abs(mean) > half)) for mean, half, _ in results))
            detected = []
            for spread in (0.04, 0.08):
                results = [simulate(noise, spread, shift=math.log(0.9)) for noise in NOISES.values()]
                detected.append(min(float(np.mean(mean + half < 0)) for mean, half, _ in results))
            rounds_needed = ", ".join(f"{simulate(heavy, spread)[2].mean():.1f}" for spread in (0.03, 0.05, 0.08))
            figures = " | ".join(f"{100 * share:.1f} %" for share in (*alarms, *detected))
            print(f"| {confidence} | {least} | {most} | {figures} | {rounds_needed} |")


def families(runs: int = 20_000, least: int = 6, most: int = 15) -> None:
    """Print how often at least one of several contenders identical to the baseline is reported as different."""
    print("\n| contenders | at least one called different |\n|---|---|")
    for contenders in (1, 3, 5):
        alarms = []
        for spread in SPREADS:
            own = normal((runs * (contenders + 1), most), spread / math.sqrt(2)).reshape(runs, contenders + 1, most)
            mean, half, _ = stop(own[:, 1:] - own[:, :1], least, QUANTILE)
            alarms.append(float((np.abs(mean) > half).any(1).mean()))
        print(f"| {contenders} | {100 * max(alarms):.1f} % |")


if __name__ == "__main__":
    coverage_of_throughput()
    coverage_of_p99()
    stopping()
    families()
