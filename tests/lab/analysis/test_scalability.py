"""The universal scalability law: exact curves are recovered, and other shapes are reported as poor fits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from bookstore.lab.analysis.scalability import Scalability, fit

CLIENTS = (1, 2, 5, 10, 25, 50, 100)


def law(n: float, rate: float, sigma: float, kappa: float) -> float:
    return rate * n / (1 + sigma * (n - 1) + kappa * n * (n - 1))


def curve(rate: float, sigma: float, kappa: float) -> list[tuple[float, float]]:
    return [(n, law(n, rate, sigma, kappa)) for n in CLIENTS]


@pytest.mark.parametrize(
    ("sigma", "kappa"), [(0.05, 0.001), (0.0, 0.0), (0.3, 0.0), (0.0, 0.002), (1.0, 0.0), (0.9, 0.01)]
)
def test_an_exact_curve_is_recovered(sigma: float, kappa: float) -> None:
    """The fit recovers the parameters with no deviation and R² 1, for a flat curve (sigma 1) too."""
    fitted = fit(curve(400, sigma, kappa))
    assert fitted.lambda_per_s.estimate == pytest.approx(400, rel=1e-6)
    assert (fitted.sigma.estimate, fitted.kappa.estimate) == pytest.approx((sigma, kappa), abs=1e-9)
    assert fitted.r2 == pytest.approx(1)
    assert (fitted.is_poor, fitted.told) == (False, "")
    assert fitted.throughput_per_s(7) == pytest.approx(law(7, 400, sigma, kappa))


def test_peak_and_knee() -> None:
    """Throughput is highest at the peak, and at the knee a client gets half of what a single client gets. Without
    kappa there is no peak, and without sigma as well no knee."""
    fitted = fit(curve(400, 0.05, 0.001))
    assert fitted.peak is not None
    assert fitted.peak == pytest.approx((0.95 / 0.001) ** 0.5)
    assert fitted.throughput_per_s(fitted.peak) > max(
        fitted.throughput_per_s(fitted.peak - 1), fitted.throughput_per_s(fitted.peak + 1)
    )
    assert fitted.knee is not None
    assert fitted.throughput_per_s(fitted.knee) == pytest.approx(0.5 * 400 * fitted.knee)
    contended = fit(curve(400, 0.25, 0))
    assert contended.peak is None or contended.peak > 1e4
    assert contended.knee == pytest.approx(5, rel=1e-3)
    assert fit([(n, 7.0 * n) for n in (1, 2, 4, 8)]).sigma.estimate == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_equals_scipy_s_non_negative_least_squares(seed: int) -> None:
    """For noisy points of curves near the bounds, the parameters equal those of scipy's nnls."""
    random = np.random.default_rng(seed)
    sigma, kappa = random.choice([0, 0.01, 0.5]), random.choice([0, 0.0001, 0.01])
    n = np.repeat(np.array(CLIENTS, dtype=float), 3)
    x = (
        law(1, 1, 0, 0)
        * np.array([law(clients, 300, sigma, kappa) for clients in n])
        * random.lognormal(0, 0.1, len(n))
    )
    terms = np.stack([np.ones_like(n), n - 1, n * (n - 1)], axis=1) * (x / n)[:, None]
    (a, b, c), _ = optimize.nnls(terms, np.ones(len(n)))
    fitted = fit(list(zip(n, x, strict=True)))
    assert fitted.lambda_per_s.estimate == pytest.approx(1 / a, rel=1e-6)
    assert (fitted.sigma.estimate, fitted.kappa.estimate) == pytest.approx((b / a, c / a), rel=1e-5, abs=1e-9)


def _contains_truth(fitted: Scalability) -> list[bool]:
    pairs = zip((fitted.lambda_per_s, fitted.sigma, fitted.kappa), (400, 0.1, 0.002), strict=True)
    return [
        interval.low is not None and interval.high is not None and interval.low <= value <= interval.high
        for interval, value in pairs
    ]


def test_the_intervals_contain_the_true_values() -> None:
    """Of 200 sweeps of 3 rounds with 5 % noise, at least 175 intervals contain each parameter. At a coverage of 93 %,
    fewer happens in 1 of 500 such tests."""
    random = np.random.default_rng(3)
    held = np.zeros(3, int)
    for _ in range(200):
        points = [(n, x * random.lognormal(0, 0.05)) for n, x in curve(400, 0.1, 0.002) for _ in range(3)]
        held += _contains_truth(fit(points))
    assert held.min() >= 175


def test_the_same_points_have_the_same_intervals() -> None:
    """Resampling uses a fixed seed."""
    points = [(n, x * (1.03 if n % 2 else 0.97)) for n, x in curve(400, 0.1, 0.002)]
    assert fit(points) == fit(points)


def test_poor_fits() -> None:
    """Throughput that suddenly drops to a tenth, and three points that fit anything, are reported as poor fits."""
    fitted = fit([(1, 100), (2, 200), (4, 400), (8, 800), (9, 80), (16, 80)])
    assert fitted.is_poor
    assert fitted.told.startswith("the law does not fit: the points deviate by ")
    few = fit([(1, 100), (2, 180), (4, 300)])
    assert few.is_poor
    assert few.told.startswith("3 concurrencies")
    assert (few.sigma.low, few.sigma.high) == (None, None)


def test_flat_and_noisy_is_not_poor() -> None:
    """A service saturated by one client fits well, although R² is meaningless there."""
    fitted = fit([(1, 101), (2, 99), (5, 100), (10, 98), (25, 102)])
    assert not fitted.is_poor
    assert fitted.sigma.estimate == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("points", [[(1, 1), (2, 2)], [(1, 1), (2, 2), (2, 3)], [(1, 1), (2, 0), (3, 1)]])
def test_unfit_points(points: list[tuple[float, float]]) -> None:
    """Fewer than three concurrencies, and figures that are not positive, are rejected."""
    with pytest.raises(ValueError, match="three concurrencies"):
        fit(points)
