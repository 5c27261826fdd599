"""The tails agree with simulation, with exact sums and with scipy where it is there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ckptui.core.chance import beta_cdf, binomial_tail, kolmogorov_tail, mirror_tail


@pytest.mark.parametrize(("hits", "trials", "p"), [(3, 32, 0.04), (1, 5, 0.5), (20, 20, 0.2), (7, 12, 0.9)])
def test_the_binomial_tail_is_the_sum_of_its_terms(hits: int, trials: int, p: float) -> None:
    exact = sum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(hits, trials + 1))
    assert binomial_tail(hits, trials, p) == pytest.approx(exact, rel=1e-9)


def test_the_binomial_tail_holds_at_its_edges() -> None:
    assert binomial_tail(0, 10, 0.0) == 1.0
    assert binomial_tail(1, 10, 0.0) == 0.0
    assert binomial_tail(11, 10, 0.5) == 0.0
    assert binomial_tail(3, 10, 1.0) == 1.0
    assert binomial_tail(60_000, 65_536, 0.2) == 0.0
    assert binomial_tail(1, 1_000_000, 1e-7) == pytest.approx(0.0951626, rel=1e-5)


def test_the_beta_distribution_is_symmetric_and_known_at_simple_places() -> None:
    assert beta_cdf(0.25, 1.0, 1.0) == pytest.approx(0.25)
    assert beta_cdf(0.5, 2304.0, 2304.0) == pytest.approx(0.5)
    assert beta_cdf(0.1, 0.5, 0.5) == pytest.approx(2 / math.pi * math.asin(math.sqrt(0.1)))
    assert beta_cdf(0.3, 2.0, 5.0) == pytest.approx(1.0 - beta_cdf(0.7, 5.0, 2.0))
    assert (beta_cdf(-1.0, 2.0, 2.0), beta_cdf(2.0, 2.0, 2.0)) == (0.0, 1.0)


def test_tails_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for a in (0.5, 1.5, 4.5, 100.0, 2304.0, 1e5):
        for b in (0.5, 9.0, 2304.0):
            for x in (1e-12, 5e-5, 0.025, 0.3, 0.9):
                expected = float(stats.beta.cdf(x, a, b))
                if expected > 1e-280:
                    assert beta_cdf(x, a, b) == pytest.approx(expected, rel=1e-7)
    assert binomial_tail(500, 65_536, 0.004) == pytest.approx(float(stats.binom.sf(499, 65_536, 0.004)), rel=1e-7)
    assert kolmogorov_tail(0.05, 1000) == pytest.approx(float(stats.kstwo.sf(0.05, 1000)), rel=0.05)


@pytest.mark.parametrize("pairs", [3, 6, 9, 27])
def test_mirror_correlation_of_normal_weights_follows_its_null(pairs: int) -> None:
    draw = np.random.default_rng(pairs)
    a, b = draw.normal(size=(2, 200_000, pairs))
    r = 2 * (a * b).sum(axis=1) / (a * a + b * b).sum(axis=1)
    for threshold in (0.2, 0.5, 0.7):
        assert mirror_tail(threshold, pairs) == pytest.approx((r >= threshold).mean(), rel=0.15, abs=2e-5)
        assert mirror_tail(threshold, pairs) == pytest.approx((r <= -threshold).mean(), rel=0.15, abs=2e-5)
