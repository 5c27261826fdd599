"""How likely chance is to do the same: the tails every judgement on weights is held against. No scipy."""

from __future__ import annotations

import math

MAX_STEPS = 20_000
"""Terms of the continued fraction; its need grows with the root of the larger parameter."""
TINY = 1e-300


def _fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function, by Lentz's method (Numerical Recipes, 6.4)."""
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > TINY else TINY)
    value = d
    for m in range(1, MAX_STEPS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > TINY else TINY)
            c = 1.0 + term / c
            c = c if abs(c) > TINY else TINY
            value *= d * c
        if abs(d * c - 1.0) < 1e-14:
            break
    return value


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularized incomplete beta function I_x(a, b): P(X <= x) for X ~ Beta(a, b); a, b > 0."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1.0) / (a + b + 2.0):
        return min(1.0, front * _fraction(a, b, x) / a)
    return max(0.0, 1.0 - front * _fraction(b, a, 1.0 - x) / b)


def binomial_tail(hits: int, trials: int, p: float) -> float:
    """P(at least `hits` of `trials` by chance), each with probability `p`; 0.0 where it underflows."""
    if hits <= 0:
        return 1.0
    if hits > trials or p <= 0.0:
        return 0.0
    if p >= 1.0:
        return 1.0
    return beta_cdf(p, float(hits), float(trials - hits + 1))


def mirror_tail(r: float, pairs: float) -> float:
    """P(mirror correlation >= r) of independent normal weights with `pairs` mirrored pairs of values.

    (1 + r) / 2 ~ Beta(pairs / 2, pairs / 2); by symmetry the lower tail at -r is the same.
    """
    return beta_cdf((1.0 - r) / 2.0, pairs / 2.0, pairs / 2.0)


def kolmogorov_tail(distance: float, count: int) -> float:
    """P(a Kolmogorov-Smirnov distance this large) for `count` independent values of the tested law."""
    root = math.sqrt(count)
    scaled = distance * (root + 0.12 + 0.11 / root)
    if scaled < 0.2:
        return 1.0
    total = sum((-1.0) ** (j - 1) * math.exp(-2.0 * (j * scaled) ** 2) for j in range(1, 101))
    return min(1.0, max(0.0, 2.0 * total))
