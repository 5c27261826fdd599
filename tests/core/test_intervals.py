"""Intervals of means and shares: against published values, and by how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ckptui.core.intervals import mean_interval, student, wilson


@pytest.mark.parametrize(
    ("degrees", "point"),
    [(1, 12.706204736), (2, 4.302652730), (5, 2.570581836), (19, 2.093024054), (100, 1.983971519), (5000, 1.960439)],
)
def test_students_points_are_those_of_the_tables(degrees: int, point: float) -> None:
    assert student(degrees) == pytest.approx(point, rel=1e-6)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 20, 0.0, 0.161125), (20, 20, 0.838875, 1.0), (10, 20, 0.299298, 0.700702), (1, 100, 0.001767, 0.054487)],
)
def test_wilsons_bounds(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials) == pytest.approx((low, high), abs=2e-6)
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilsons_bounds_solve_the_score_equation() -> None:
    for hits, trials in ((3, 20), (17, 40), (250, 2000)):
        for bound in wilson(hits, trials):
            z = (hits / trials - bound) / math.sqrt(bound * (1 - bound) / trials)
            assert abs(z) == pytest.approx(1.959963984540054, rel=1e-9)


def test_an_interval_without_bounds_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    mean, low, high = mean_interval(values)
    half = 3.182446305 * values.std(ddof=1) / 2
    assert (mean, low, high) == pytest.approx((4.0, 4.0 - half, 4.0 + half), rel=1e-8)


def test_bounds_hold_and_a_sample_without_spread_claims_no_certainty() -> None:
    mean, low, high = mean_interval(np.zeros(20), (0.0, 1.0))
    assert (mean, low) == (0.0, 0.0)
    assert 0.05 < high < 0.2
    assert mean_interval(np.ones(20), (0.0, 1.0))[1:] == pytest.approx((1 - high, 1.0))
    assert mean_interval(np.array([0.3]), (0.0, 1.0)) == (0.3, 0.0, 1.0)
    assert all(math.isnan(value) for value in mean_interval(np.array([])))


def test_bounded_intervals_hold_the_mean_as_often_as_they_say() -> None:
    draw, found = np.random.default_rng(3), []
    for count in (20, 60, 200):
        for a, b in ((0.05, 1.2), (0.3, 0.3), (0.5, 2.0), (2.0, 2.0)):
            samples = draw.beta(a, b, (400, count))
            held = [low <= a / (a + b) <= high for _, low, high in (mean_interval(s, (0.0, 1.0)) for s in samples)]
            found.append((count, a, b, sum(held) / len(held)))
    worst = min(share for *_, share in found)
    print(f"coverage of {len(found)} laws and sizes, 400 samples each: {worst:.3f} to {max(f[3] for f in found):.3f}")
    assert worst >= 0.92, found
