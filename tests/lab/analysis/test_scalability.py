"""The universal scalability law: exact curves come back, and what is no such curve is called poor."""

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
def test_an_exact_curve_comes_back(sigma: float, kappa: float) -> None:
    """Its parameters, no deviation, R² 1; a flat curve (sigma 1) too."""
    it = fit(curve(400, sigma, kappa))
    assert it.lambda_per_s.estimate == pytest.approx(400, rel=1e-6)
    assert (it.sigma.estimate, it.kappa.estimate) == pytest.approx((sigma, kappa), abs=1e-9)
    assert it.r2 == pytest.approx(1)
    assert (it.is_poor, it.told) == (False, "")
    assert it.throughput_per_s(7) == pytest.approx(law(7, 400, sigma, kappa))


def test_peak_and_knee() -> None:
    """At the peak no neighbour has more; at the knee a client gets half of what one alone gets. Without kappa there is
    no peak, without sigma too no knee."""
    it = fit(curve(400, 0.05, 0.001))
    assert it.peak is not None
    assert it.peak == pytest.approx((0.95 / 0.001) ** 0.5)
    assert it.throughput_per_s(it.peak) > max(it.throughput_per_s(it.peak - 1), it.throughput_per_s(it.peak + 1))
    assert it.knee is not None
    assert it.throughput_per_s(it.knee) == pytest.approx(0.5 * 400 * it.knee)
    contended = fit(curve(400, 0.25, 0))
    assert contended.peak is None or contended.peak > 1e4
    assert contended.knee == pytest.approx(5, rel=1e-3)
    assert fit([(n, 7.0 * n) for n in (1, 2, 4, 8)]).sigma.estimate == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_scipy_s_non_negative_least_squares(seed: int) -> None:
    """On noisy points of curves near the bounds, the three parameters are those of scipy's nnls."""
    random = np.random.default_rng(seed)
    sigma, kappa = random.choice([0, 0.01, 0.5]), random.choice([0, 0.0001, 0.01])
    n = np.repeat(np.array(CLIENTS, dtype=float), 3)
    x = law(1, 1, 0, 0) * np.array([law(one, 300, sigma, kappa) for one in n]) * random.lognormal(0, 0.1, len(n))
    terms = np.stack([np.ones_like(n), n - 1, n * (n - 1)], axis=1) * (x / n)[:, None]
    (a, b, c), _ = optimize.nnls(terms, np.ones(len(n)))
    it = fit(list(zip(n, x, strict=True)))
    assert it.lambda_per_s.estimate == pytest.approx(1 / a, rel=1e-6)
    assert (it.sigma.estimate, it.kappa.estimate) == pytest.approx((b / a, c / a), rel=1e-5, abs=1e-9)


def _holds(it: Scalability) -> list[bool]:
    truth = zip((it.lambda_per_s, it.sigma, it.kappa), (400, 0.1, 0.002), strict=True)
    return [one.low is not None and one.high is not None and one.low <= value <= one.high for one, value in truth]


def test_the_intervals_hold_the_truth() -> None:
    """Of 200 sweeps of 3 rounds with noise of 5 %, at least 175 hold lambda, and as many sigma and kappa: at a
    coverage of 93 %, fewer is 1 in 500 such tests."""
    random = np.random.default_rng(3)
    held = np.zeros(3, int)
    for _ in range(200):
        points = [(n, x * random.lognormal(0, 0.05)) for n, x in curve(400, 0.1, 0.002) for _ in range(3)]
        held += _holds(fit(points))
    assert held.min() >= 175


def test_the_same_points_have_the_same_intervals() -> None:
    """The resampling is seeded."""
    points = [(n, x * (1.03 if n % 2 else 0.97)) for n, x in curve(400, 0.1, 0.002)]
    assert fit(points) == fit(points)


def test_what_is_no_such_curve_is_poor() -> None:
    """Throughput that falls to a tenth at once, and three points that anything fits, are called poor in words."""
    it = fit([(1, 100), (2, 200), (4, 400), (8, 800), (9, 80), (16, 80)])
    assert it.is_poor
    assert it.told.startswith("the law does not fit: the points lie ")
    few = fit([(1, 100), (2, 180), (4, 300)])
    assert few.is_poor
    assert few.told.startswith("3 concurrencies")
    assert (few.sigma.low, few.sigma.high) == (None, None)


def test_flat_and_noisy_is_not_poor() -> None:
    """A service that one client saturates fits well, though R² says nothing there."""
    it = fit([(1, 101), (2, 99), (5, 100), (10, 98), (25, 102)])
    assert not it.is_poor
    assert it.sigma.estimate == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("points", [[(1, 1), (2, 2)], [(1, 1), (2, 2), (2, 3)], [(1, 1), (2, 0), (3, 1)]])
def test_unfit_points(points: list[tuple[float, float]]) -> None:
    """Fewer than three concurrencies, and figures that are not positive, have no curve."""
    with pytest.raises(ValueError, match="three concurrencies"):
        fit(points)
