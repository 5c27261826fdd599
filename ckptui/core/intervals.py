"""How far a mean or a share may lie from the truth: 95 % intervals for values between known bounds. No scipy."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ckptui.core.chance import beta_cdf

Array = np.ndarray[Any, Any]

Z = 1.959963984540054
"""97.5 % point of the normal law."""
PSEUDO = 1.0
"""Weight of the value laid at each bound beside a bounded sample: what was never seen there may still come."""


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """95 % score interval of a share, `hits` of `trials`; (0, 1) where nothing was tried.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if trials <= 0:
        return 0.0, 1.0
    share, square = hits / trials, Z * Z
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = Z / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials * trials))
    return (0.0 if hits <= 0 else max(0.0, middle - half)), (1.0 if hits >= trials else min(1.0, middle + half))


@functools.lru_cache(maxsize=4096)
def student(degrees: int) -> float:
    """97.5 % point of Student's t with so many degrees of freedom (>= 1), by bisection of its tail."""
    low, high = 0.0, 1.0
    while _both_tails(high, degrees) > 0.05:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _both_tails(middle, degrees) > 0.05 else (low, middle)
    return (low + high) / 2


def _both_tails(t: float, degrees: int) -> float:
    return beta_cdf(degrees / (degrees + t * t), degrees / 2, 0.5)


def mean_interval(values: Array, bounds: tuple[float, float] | None = None) -> tuple[float, float, float]:
    """(mean, low, high) of a 95 % interval of the mean, by Student's t.

    `bounds` are the least and largest value there can be. Then one value is laid at each of them before the spread is
    taken, which keeps a sample without spread from claiming certainty, and the interval stays inside. The mean is
    that of the values alone and always inside the interval. nan of no values; (mean, -inf, inf) or the bounds of one.
    """
    values = np.asarray(values, np.float64).reshape(-1)
    count = len(values)
    if not count:
        return math.nan, math.nan, math.nan
    mean = float(values.mean())
    if count == 1:
        return (mean, *(bounds or (-math.inf, math.inf)))
    if bounds is None:
        half = student(count - 1) * float(values.std(ddof=1)) / math.sqrt(count)
        return mean, mean - half, mean + half
    low, high = bounds
    weight = count + 2 * PSEUDO
    middle = (count * mean + PSEUDO * (low + high)) / weight
    squares = float(((values - middle) ** 2).sum()) + PSEUDO * ((low - middle) ** 2 + (high - middle) ** 2)
    half = student(count - 1) * math.sqrt(squares / (weight - 1) / weight)
    return mean, max(low, min(mean, middle - half)), min(high, max(mean, middle + half))
